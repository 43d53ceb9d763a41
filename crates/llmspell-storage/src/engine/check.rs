//! The check: reads every row and every slot, and repairs nothing.

use std::sync::Arc;

use llmspell_core::{ErrorKind, Result, StateScope, StorageError, Timestamp};
use llmspell_vector::Graph;
use roaring::RoaringBitmap;

use super::open::is_own_name;
use super::quotas;
use super::shared::Shared;
use crate::base::error::{corrupted, io_error};
use crate::base::ids::ScopeId;
use crate::base::report::{CheckReport, CheckSection};
use crate::disk::Disk;
use crate::indexes::files::{self, Ids, Kind, Unusable};
use crate::indexes::texts::{TextIndex, TextRules};
use crate::namespace::{Namespace, State};
use crate::slots::SlotStore;
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;
use crate::truth::{Read, Verification, check as truth_check, raw, row_damage};
use llmspell_metadata::MetadataIndex;

/// A clock that is this far behind the stored time is reported, in milliseconds.
const CLOCK_BEHIND_MS: i64 = 60_000;

/// Checks all parts. One that cannot be read does not keep the others from being checked.
pub(super) fn check(shared: &Shared) -> Result<CheckReport> {
    let read = shared.truth.read()?;
    let mut sections = vec![check_clock(shared, &read)?];
    sections.push(whole("key-value data", || truth_check::values(&read), shared)?);
    for (id, record) in shared.space_records() {
        let mut section = CheckSection::new(format!("space `{}`", record.name));
        let done = shared.truth.guard(|| {
            if let Some(space) = section.note(shared.space(id))? {
                check_space(shared, &space, &mut section)?;
            }
            Ok(())
        });
        note_end(&mut section, done)?;
        sections.push(section);
    }
    match shared.truth.guard(|| quotas::check(shared, &read)) {
        Ok(section) => sections.extend(section),
        Err(error) => sections.push(unread("quotas", error)?),
    }
    Ok(CheckReport { sections })
}

/// [`check`], then each row by itself, and the names of all files.
pub(super) fn check_deep(shared: &Shared) -> Result<CheckReport> {
    let mut report = check(shared)?;
    let read = shared.truth.read()?;
    report.sections.push(check_rows(shared, &read)?);
    if let Some(disk) = &shared.disk {
        report.sections.push(check_names(disk, &read)?);
    }
    Ok(report)
}

/// The section that `check` makes; one with a problem if the data cannot be read.
fn whole(name: &str, check: impl FnOnce() -> Result<CheckSection>, shared: &Shared) -> Result<CheckSection> {
    shared.truth.guard(check).or_else(|error| unread(name, error))
}

fn unread(name: &str, error: StorageError) -> Result<CheckSection> {
    let mut section = CheckSection::new(name);
    note_end(&mut section, Err(error))?;
    Ok(section)
}

/// Damage that ended the check of a section is a problem of the section.
fn note_end(section: &mut CheckSection, done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::Data => {
            section.problems.push(error.to_string());
            Ok(())
        }
        done => done,
    }
}

/// Every row of every table: whether it is found by its key, and whether its value is what was written.
fn check_rows(shared: &Shared, read: &Read) -> Result<CheckSection> {
    let mut section = CheckSection::new("rows of all tables");
    note_end(&mut section, read.check_tables_known())?;
    for table in raw::table_names() {
        let mut before: Option<Vec<u8>> = None;
        let done = read.visit_rows(table, false, &mut |key, value| {
            section.checked += 1;
            let damage = row_damage(table, key, value).map(|damage| corrupted(read.path(), damage));
            section.problems.extend(damage.map(|damage| damage.to_string()));
            if before.as_ref().is_some_and(|before| !raw::follows(table, key, before)) {
                return Err(corrupted(
                    read.path(),
                    format!("table `{table}`: its keys are out of order"),
                ));
            }
            before = Some(key.to_vec());
            Ok(true)
        });
        note_end(&mut section, done)?;
    }
    // That each row is found by its key: of the tables as they are now.
    let mut verification = Verification::default();
    loop {
        match verification.step(&shared.truth) {
            Ok(false) => {}
            Ok(true) => return Ok(section),
            Err(error) => {
                note_end(&mut section, Err(error))?;
                return Ok(section);
            }
        }
    }
}

/// Every name in the directory: files that are missing are found by the checks of spaces, here are those that no database
/// has. They do no harm.
fn check_names(disk: &Arc<dyn Disk>, read: &Read) -> Result<CheckSection> {
    let mut section = CheckSection::new("names of files");
    let list = |folder: &str| {
        disk.list(folder)
            .map_err(|source| io_error("list", &disk.full_path(folder), source))
    };
    let Some(spaces) = section.note(read.spaces())? else {
        return Ok(section);
    };
    let mut foreign = Vec::new();
    for name in list("")? {
        section.checked += 1;
        if !is_own_name(&name) {
            foreign.push(name);
        }
    }
    for name in list("spaces")? {
        section.checked += 1;
        let folder = format!("spaces/{name}");
        let Some((space, record)) = spaces.iter().find(|(space, _)| SlotStore::dir(*space) == folder) else {
            foreign.push(folder);
            continue;
        };
        let end = read.slot_end(*space)?;
        let files = end.div_ceil(SlotStore::slots_per_file_of(record.dim));
        for name in list(&folder)? {
            section.checked += 1;
            let path = format!("{folder}/{name}");
            // A file may have been made for slots that no row names yet.
            if path != files::dir(*space) && !(0..=files).any(|number| SlotStore::file(*space, number) == path) {
                foreign.push(path);
            }
        }
    }
    section.notes.extend(
        foreign
            .into_iter()
            .map(|path| format!("{path}: no database has such a file; it is not read")),
    );
    Ok(section)
}

/// Compares the stored time with the system's. A wrong clock is no damage.
fn check_clock(shared: &Shared, read: &Read) -> Result<CheckSection> {
    let mut section = CheckSection::new("clock");
    let Some(head) = section.note(read.head())? else {
        return Ok(section);
    };
    section.note(read.clock())?;
    section.note(read.survey())?;
    if head.clock_ms == i64::MIN {
        return Ok(section);
    }
    let system = shared.clock.system();
    let (stored, now) = (Timestamp::from_millis(head.clock_ms), Timestamp::from_millis(system));
    section.name = format!("clock: stored time {stored}, system time {now}");
    if head.clock_ms > system.saturating_add(CLOCK_BEHIND_MS) {
        section.notes.push(
            "nothing expires until the system has caught up; `reset_clock` sets the stored time back".to_string(),
        );
    } else if !shared.clock.is_confirmed() {
        section
            .notes
            .push("the clock of the system has jumped ahead: what has expired by it is hidden, not purged".to_string());
    }
    Ok(section)
}

fn check_space(shared: &Shared, space: &Space, section: &mut CheckSection) -> Result<()> {
    // One snapshot for all rows, so that they belong together.
    let read = shared.truth.read()?;
    let mut slot_use = truth_check::SlotUse::new(&read, space.id)?;
    let Some(scopes) = section.note(read.scopes(space.id))? else {
        return Ok(());
    };
    for (scope, scope_id) in scopes {
        section.note(truth_check::scope_name(&read, space.id, &scope, scope_id))?;
        if let Some(state) = section.note(read.state(scope_id))? {
            slot_use.add(&state.extents, &format!("scope {}", scope_id.0));
            check_entries(shared, space, &read, (&scope, scope_id), &state, section)?;
            note_unreadable(&read, scope_id, section)?;
            check_file(shared, space, &read, scope_id, &state, section)?;
            check_metadata_file(space, &read, scope_id, &state, section)?;
            check_text_files(space, &read, scope_id, &state, section)?;
        }
        if let Some(namespace) = space.loaded(&scope) {
            check_loaded(shared, space, &namespace, section)?;
        }
    }
    for (scope_id, space_id) in read.dropped_scopes()? {
        if space_id == space.id
            && let Some(state) = section.note(read.state(scope_id))?
        {
            slot_use.add(&state.extents, &format!("dropped scope {}", scope_id.0));
        }
    }
    for staged in section.note(read.staged())?.into_iter().flatten() {
        if staged.space == space.id {
            slot_use.add(&staged.extents, &format!("a batch for scope {}", staged.scope.0));
        }
    }
    slot_use.finish(section);
    Ok(())
}

/// The entries of a scope, each with its slot. The state made from `read` does not keep its slots from being written:
/// in files that is harmless, as slots are copied; in RAM the scope is checked by the current state, which readers
/// hold.
fn check_entries(
    shared: &Shared,
    space: &Space,
    read: &Read,
    (scope, scope_id): (&StateScope, ScopeId),
    state: &State,
    section: &mut CheckSection,
) -> Result<()> {
    if !space.slots.is_in_memory() {
        return truth_check::namespace(&shared.truth, read, &space.slots, scope_id, state, section);
    }
    let namespace = space.load(&shared.truth, scope)?;
    // The scope was dropped meanwhile, and perhaps made again.
    let Some(namespace) = namespace.filter(|namespace| namespace.scope_id == scope_id) else {
        return Ok(());
    };
    let Some(snapshot) = Snapshot::take(&shared.truth, &space.slots, &namespace)? else {
        return Ok(());
    };
    let (held, _, read) = snapshot.into_parts();
    truth_check::namespace(&shared.truth, &read, &space.slots, scope_id, &held, section)
}

/// Reports rows that name files and cannot be read.
fn note_unreadable(read: &Read, scope: ScopeId, section: &mut CheckSection) -> Result<()> {
    for kind in Kind::ALL {
        match read.index_file(scope, kind) {
            Err(error) if error.kind() == ErrorKind::Data => section.notes.push(error.to_string()),
            file => drop(file?),
        }
    }
    Ok(())
}

/// The index file of a scope. A damaged one is derived and will be built again; its content must be right.
fn check_file(
    shared: &Shared,
    space: &Space,
    read: &Read,
    scope: ScopeId,
    state: &State,
    section: &mut CheckSection,
) -> Result<()> {
    let (Some(row), Some(disk)) = (state.files.row(Kind::Graph), &shared.disk) else {
        return Ok(());
    };
    section.checked += 1;
    let opened =
        files::open(disk, space.id, scope, row).and_then(|opened| opened.file.verify(&|| false).map(|_| opened));
    match opened {
        Ok(opened) => check_vertices(read, scope, state, &opened.graph, &opened.ids, section),
        Err(unusable) => {
            section.notes.push(made_anew(&row.name(scope, Kind::Graph), &unusable));
            Ok(())
        }
    }
}

fn made_anew(name: &str, unusable: &Unusable) -> String {
    format!("index file {name}: {}; it will be rebuilt", unusable.0)
}

/// The file of the metadata index of a scope. A damaged one is derived and will be built again; its content for points
/// that have not changed since must be right.
fn check_metadata_file(
    space: &Space,
    read: &Read,
    scope: ScopeId,
    state: &State,
    section: &mut CheckSection,
) -> Result<()> {
    let file = state.files.get(Kind::Metadata);
    let Some((file, row)) = file.and_then(|file| Some((file, file.row?))) else {
        return Ok(());
    };
    section.checked += 1;
    let name = row.name(scope, Kind::Metadata);
    let restored = match space.read_metadata(scope, file, &|| false) {
        Ok(Some(restored)) => restored,
        Ok(None) => return Ok(()),
        Err(unusable) => {
            section.notes.push(made_anew(&name, &unusable));
            return Ok(());
        }
    };
    let stale = &restored.stale & &state.living();
    check_metadata(
        read,
        scope,
        state,
        &restored.index,
        &stale,
        &format!("index file {name}"),
        section,
    )
}

/// The files of the indexes of words of a scope. Damaged ones are derived and will be built again; their content for points
/// that have not changed since must be right.
fn check_text_files(
    space: &Space,
    read: &Read,
    scope: ScopeId,
    state: &State,
    section: &mut CheckSection,
) -> Result<()> {
    let (Some(rules), true) = (space.texts(), state.files.get(Kind::Texts).is_some()) else {
        return Ok(());
    };
    section.checked += 1;
    match space.open_texts(scope, state, &rules) {
        Ok(None) => Ok(()),
        Ok(Some(index)) => check_words(read, scope, state, (&index, &rules), "index files of words", section),
        Err(unusable) => {
            let name = format!("of words of scope {}", scope.0);
            section.notes.push(made_anew(&name, &unusable));
            Ok(())
        }
    }
}

/// Checks that an index of words has the living entries that have words, except those that are not read yet.
fn check_words(
    read: &Read,
    scope: ScopeId,
    state: &State,
    (index, rules): (&TextIndex, &TextRules),
    name: &str,
    section: &mut CheckSection,
) -> Result<()> {
    let mut expected = (RoaringBitmap::new(), RoaringBitmap::new());
    read.records(scope)?.visit_each(|point, record| {
        if !state.lives(point) || index.unread.contains(point.0) {
            return Ok(());
        }
        // Damaged rows are reported elsewhere.
        let Ok(record) = record else { return Ok(()) };
        let Ok(metadata) = record.metadata() else { return Ok(()) };
        let stored = match record.text.is_nothing() {
            true => Ok(None),
            false => read.text(scope, point).map(Some),
        };
        let Ok(stored) = stored else { return Ok(()) };
        let terms = rules.terms(stored.as_ref(), &metadata);
        if !terms.words.is_empty() {
            expected.0.insert(point.0);
        }
        if terms.sparse.is_some() {
            expected.1.insert(point.0);
        }
        Ok(())
    })?;
    if index.words.points() != expected.0 {
        let problem = format!("{name} of scope {}: its entries are not those that have words", scope.0);
        section.problems.push(problem);
    }
    if index.sparse.points() != expected.1 {
        let problem = format!(
            "{name} of scope {}: its entries are not those that have sparse vectors",
            scope.0
        );
        section.problems.push(problem);
    }
    Ok(())
}

/// Checks that a metadata index agrees with the record of each living point, except points that it does not count.
fn check_metadata(
    read: &Read,
    scope: ScopeId,
    state: &State,
    index: &MetadataIndex,
    uncounted: &RoaringBitmap,
    name: &str,
    section: &mut CheckSection,
) -> Result<()> {
    let living = state.living();
    // Some of the points that it does not count may be dead.
    if index.points() | (uncounted & &living) != living {
        section
            .problems
            .push(format!("{name}: its points are not those of the scope"));
    }
    let (mut left, mut unread) = (index.clone(), uncounted.clone());
    read.records(scope)?.visit_each(|point, record| {
        if !living.contains(point.0) {
            return Ok(());
        }
        // Damaged records are reported elsewhere.
        match record
            .ok()
            .and_then(|record| Some((record.metadata().ok()?, record.times())))
        {
            Some((metadata, times)) => left.remove_with_times(point.0, &metadata, &times),
            None => drop(unread.insert(point.0)),
        }
        Ok(())
    })?;
    let wrong = left.remains() - unread;
    if let Some(point) = wrong.min() {
        let count = wrong.len();
        section.problems.push(format!(
            "{name}: {count} entries have other metadata, entry {point} for one"
        ));
    }
    Ok(())
}

/// A namespace in RAM, and its index.
fn check_loaded(shared: &Shared, space: &Space, namespace: &Namespace, section: &mut CheckSection) -> Result<()> {
    let Some(snapshot) = Snapshot::take(&shared.truth, &space.slots, namespace)? else {
        return Ok(());
    };
    let (state, _, read) = snapshot.into_parts();
    let scope = namespace.scope_id;
    if let Err(detail) = state.check() {
        section.problems.push(format!("scope {} in memory: {detail}", scope.0));
    }
    if let Some(index) = &state.metadata {
        let name = format!("metadata index of scope {} in memory", scope.0);
        check_metadata(&read, scope, &state, index, &index.distrusted(), &name, section)?;
    }
    if let (Some(rules), Some(index)) = (space.texts(), &state.texts)
        && index.is_by(&rules)
    {
        check_words(
            &read,
            scope,
            &state,
            (index, &rules),
            "index of words in memory",
            section,
        )?;
    }
    match &state.index {
        Some(index) if !index.is_damaged() => {
            let mut found = CheckSection::default();
            check_vertices(&read, scope, &state, &index.graph, &index.ids, &mut found)?;
            // Content from a damaged file, that of the manifest or an earlier one, is derived and will be built again.
            let is_derived = || index.file.as_ref().is_some_and(|file| file.verify(&|| false).is_err());
            if found.problems.is_empty() || !is_derived() {
                section.problems.append(&mut found.problems);
                section.notes.append(&mut found.notes);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Checks that a graph keeps its promises, and that every living vertex is still the same entry.
fn check_vertices(
    read: &Read,
    scope: ScopeId,
    state: &State,
    graph: &Graph,
    ids: &Ids,
    section: &mut CheckSection,
) -> Result<()> {
    let problem = |detail: String| format!("index of scope {}: {detail}", scope.0);
    if let Err(detail) = graph.check() {
        section.problems.push(problem(detail));
    }
    let records = read.records(scope)?;
    for vertex in 0..graph.len() {
        let point = graph.point(vertex);
        if point.0 >= state.next_point || state.dead.contains(point.0) {
            continue;
        }
        // Damaged records are reported elsewhere.
        let Ok(record) = records.get(point) else { continue };
        match ids.get(vertex, point) {
            Ok((generation, id)) if Some(generation) == record.generation && id == record.id => {}
            Ok((_, id)) => section.problems.push(problem(format!(
                "vertex {vertex} is `{id}`, but entry {} is another one",
                point.0
            ))),
            Err(malformed) => section.notes.push(problem(format!(
                "id of vertex {vertex}: {}; it will be rebuilt",
                malformed.0
            ))),
        }
    }
    Ok(())
}
