//! One cycle: start, kill, perhaps kill again during recovery, read everything, compare.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::model::{Found, FoundScope, Span, Territory};
use super::operation::{Line, Operation, StoredEntry, now};
use super::process::{Process, Role};
use super::workload::{Owner, Subject, WRITERS, is_mortal, owner, scope_owner};
use llmspell_testkit::Random;

/// The writer is killed at a random moment within this time after it began to write.
const WRITING: Duration = Duration::from_millis(250);
/// The process that opens the store next is killed within this time after its start, which is about as long as opening
/// takes.
const RECOVERING: Duration = Duration::from_millis(20);
/// Number of processes that are killed while they create a store.
const CREATION_KILLS: u64 = 5;
/// Percentage of checkers that exit without closing.
const LEAVING_PERCENT: u64 = 50;

/// A store that is used for many cycles, and its expected content.
pub(super) struct Generation<'a> {
    pub(super) subject: Subject,
    pub(super) dir: &'a Path,
    pub(super) recovery_kill_percent: u64,
    pub(super) territories: Vec<Territory>,
    /// All messages of the writers, for the analysis of a failure.
    pub(super) journal: Vec<Line>,
    /// Time from the start of a process to the open store, as last seen.
    pub(super) opening: Duration,
}

/// The results of cycles.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) cycles: u64,
    pub(super) kills: u64,
    pub(super) recovery_kills: u64,
    pub(super) acknowledged: u64,
    pub(super) in_flight: u64,
    /// Number of calls under way at the kill that had happened.
    pub(super) happened: u64,
    pub(super) checked: u64,
    pub(super) reopen_max: Duration,
    pub(super) panics: u64,
    /// Checkers that found a dropped scope that was not purged yet.
    pub(super) purges_cut: u64,
}

/// The last call of a writer, if it had not returned.
type Pending = Option<(Operation, i64)>;

impl Generation<'_> {
    /// Kills processes that create the store, so that the first cycle begins with the remains of such a death.
    ///
    /// # Errors
    ///
    /// If one of them reports a problem, or ends by itself.
    pub(super) fn begin(&mut self, seed: u64, tally: &mut Tally) -> Result<()> {
        let mut random = Random::new(&[seed, 2]);
        for _ in 0..CREATION_KILLS {
            self.kill_while_opening(RECOVERING, seed, &mut random, tally)?;
        }
        Ok(())
    }

    /// One cycle.
    ///
    /// # Errors
    ///
    /// A promise that the store did not keep.
    pub(super) fn cycle(&mut self, seed: u64, tally: &mut Tally) -> Result<()> {
        let mut random = Random::new(&[seed, 1]);
        tally.cycles += 1;

        let started = Instant::now();
        let mut writer = Process::start(Role::Writer, self.subject, self.dir, seed)?;
        writer.wait_until_ready().context("the writer")?;
        self.opening = started.elapsed();
        sleep_below(WRITING, &mut random);
        let killed = writer.kill().context("the writer")?;
        let pending = self.follow(killed.lines, tally)?;
        let killed_at = now();
        tally.kills += 1;

        while random.percent(self.recovery_kill_percent) {
            let most = RECOVERING.min(self.opening * 5 / 4);
            self.kill_while_opening(most, seed, &mut random, tally)?;
        }

        let role = if random.percent(LEAVING_PERCENT) {
            Role::LeavingChecker
        } else {
            Role::Checker
        };
        let (found, reopen) = self.look(role, seed, tally)?;
        tally.reopen_max = tally.reopen_max.max(reopen);
        self.compare(found, pending, killed_at, tally)
    }

    fn kill_while_opening(&self, most: Duration, seed: u64, random: &mut Random, tally: &mut Tally) -> Result<()> {
        let opener = Process::start(Role::Opener, self.subject, self.dir, seed)?;
        sleep_below(most, random);
        let killed = opener.kill().context("the process that opens the store")?;
        let is_open = killed.lines.iter().any(|line| matches!(line, Line::Ready { .. }));
        tally.kills += 1;
        tally.recovery_kills += u64::from(!is_open);
        self.note_panics(&killed.lines, tally)
    }

    /// Applies the messages of the writers to the territories.
    fn follow(&mut self, lines: Vec<Line>, tally: &mut Tally) -> Result<Vec<Pending>> {
        self.journal.extend(lines.iter().cloned());
        self.note_panics(&lines, tally)?;
        let mut pending: Vec<Pending> = vec![None; WRITERS];
        for line in lines {
            match line {
                Line::Start { writer, at, operation } => pending[writer] = Some((operation, at)),
                Line::Ack { writer, at, outcome } => {
                    let (operation, from) = pending[writer].take().context("an answer without a call")?;
                    self.territories[writer]
                        .apply(&operation, Span { from, to: at }, Some(&outcome))
                        .map_err(anyhow::Error::msg)?;
                    tally.acknowledged += 1;
                }
                Line::Problem(problem) => bail!("the writer: {problem}"),
                Line::Ready { .. } | Line::Panic(_) => {}
                Line::KeysRead { .. }
                | Line::Pair { .. }
                | Line::Listed { .. }
                | Line::Scope { .. }
                | Line::Quota { .. }
                | Line::Purging(_)
                | Line::Complete => {
                    bail!("a writer talks like a checker")
                }
            }
        }
        tally.in_flight += pending.iter().flatten().count() as u64;
        Ok(pending)
    }

    /// sled panics if its files are not as it expects, and its backend catches that. No other code may panic.
    fn note_panics(&self, lines: &[Line], tally: &mut Tally) -> Result<()> {
        for line in lines {
            if let Line::Panic(text) = line {
                tally.panics += 1;
                ensure!(self.subject == Subject::Sled, "panic: {text}");
            }
        }
        Ok(())
    }

    /// The content found, by writer, and the time of opening.
    fn look(&self, role: Role, seed: u64, tally: &mut Tally) -> Result<(Vec<Found>, Duration)> {
        let checked = Process::start(role, self.subject, self.dir, seed)?
            .finish()
            .context("the checker")?;
        self.note_panics(&checked.lines, tally)?;
        for line in &checked.lines {
            if let Line::Problem(problem) = line {
                bail!("{problem}");
            }
        }
        let is_complete = matches!(checked.lines.last(), Some(Line::Complete)) && checked.status.success();
        ensure!(is_complete, "the checker ended early ({})", checked.status);
        let mut found = vec![Found::default(); WRITERS];
        let mut reopen = Duration::ZERO;
        for line in checked.lines {
            match line {
                Line::Ready { open_us } => reopen = Duration::from_micros(open_us),
                Line::Listed { space, from, to } => {
                    for found in &mut found {
                        found.listed.insert(space, Span { from, to });
                    }
                }
                Line::KeysRead { from, to } => found.iter_mut().for_each(|found| found.keys_read = Span { from, to }),
                Line::Pair { key, value, expires_at } => match owner(&key) {
                    Owner::Writer(writer) if is_mortal(&key) => {
                        found[writer].mortal.insert(key, (value, expires_at));
                    }
                    Owner::Writer(_) if expires_at.is_some() => bail!("key `{key}` expires, and nobody said so"),
                    Owner::Writer(writer) => drop(found[writer].pairs.insert(key, value)),
                    Owner::All | Owner::Nobody => bail!("nobody ever wrote key `{key}`"),
                },
                Line::Scope {
                    space,
                    scope,
                    entries,
                    from,
                    to,
                } => {
                    let when = Span { from, to };
                    let mut mine: Vec<Vec<StoredEntry>> = vec![Vec::new(); WRITERS];
                    let writers = match scope_owner(&scope) {
                        Owner::Writer(writer) => writer..writer + 1,
                        Owner::All => 0..WRITERS,
                        Owner::Nobody => bail!("nobody ever wrote to scope {scope}"),
                    };
                    for entry in entries {
                        match owner(&entry.id) {
                            Owner::Writer(writer) if writers.contains(&writer) => mine[writer].push(entry),
                            Owner::Writer(_) | Owner::All | Owner::Nobody => {
                                bail!("nobody ever wrote entry `{}` of scope {scope}", entry.id)
                            }
                        }
                    }
                    for writer in writers {
                        let entries = std::mem::take(&mut mine[writer]);
                        let entries = entries.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
                        let place = (space, scope.clone());
                        found[writer].scopes.insert(place, FoundScope { when, entries });
                    }
                }
                Line::Quota { scope, vectors } => match scope_owner(&scope) {
                    Owner::Writer(writer) => drop(found[writer].quotas.insert(scope, vectors)),
                    Owner::All | Owner::Nobody => bail!("nobody ever gave scope {scope} a quota"),
                },
                Line::Purging(count) => tally.purges_cut += u64::from(count > 0),
                Line::Start { .. } | Line::Ack { .. } => bail!("a checker talks like a writer"),
                Line::Complete | Line::Panic(_) | Line::Problem(_) => {}
            }
        }
        Ok((found, reopen))
    }

    /// Checks that each territory is as after its last acknowledged call, or as after the one under way.
    fn compare(&mut self, found: Vec<Found>, pending: Vec<Pending>, killed_at: i64, tally: &mut Tally) -> Result<()> {
        for (writer, ((territory, found), pending)) in self.territories.iter_mut().zip(found).zip(pending).enumerate() {
            let Some(difference) = territory.difference(&found) else {
                territory.settle(&found);
                tally.checked += territory.len() as u64;
                continue;
            };
            let Some((operation, from)) = pending else {
                bail!("writer {writer}, nothing in flight: {difference}");
            };
            let when = Span { from, to: killed_at };
            territory.apply(&operation, when, None).map_err(anyhow::Error::msg)?;
            if let Some(other) = territory.difference(&found) {
                bail!("writer {writer}, in flight {operation:?}: without it, {difference}; with it, {other}");
            }
            territory.settle(&found);
            tally.happened += 1;
            tally.checked += territory.len() as u64;
        }
        Ok(())
    }
}

fn sleep_below(most: Duration, random: &mut Random) {
    let micros = u64::try_from(most.as_micros()).expect("it is short");
    std::thread::sleep(Duration::from_micros(random.below(micros.max(1))));
}
