//! Searches by words and sparse vectors, alone or beside a vector.
//!
//! ```text
//! read       a snapshot of each scope, with the words that its index lacks
//! sides      the best of each side among what the filter lets through: by words with the statistics of all scopes together
//! fuse       all rankings become one
//! choose     age, diversity and groups order the candidates anew
//! resolve    the other sides' scores, metadata and texts of what is left
//! ```
//!
//! All of a scope is as of one of its mutations.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use llmspell_core::limits::K_MAX;
use llmspell_core::{Result, SearchPath, StateScope, TextPlan, VectorQuery, VectorResult, fuse};
use llmspell_text::{Bm25, Query, Search as TextSearch, Statistics, Texts};
use llmspell_vector::{ExactDistance, Neighbor};
use roaring::RoaringBitmap;

use super::indexed::{Hit, Indexed};
use super::metadata::{Condition, index_metadata};
use super::question::Question;
use super::ranking::Ranking;
use super::selection::Selection;
use super::tail::Tail;
use super::trace::Trace;
use super::{Search, index_for};
use crate::base::ids::PointId;
use crate::base::record::Record;
use crate::base::stored_text::StoredText;
use crate::indexes::graph::kernel_metric;
use crate::indexes::texts::{Asked, TextRules};
use crate::namespace::{Namespace, Passing};
use crate::slots::Waiting;
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;
use crate::spaces::texts::{SnapshotTexts, index_for_search};
use crate::truth::{Read, Records, Truth};

/// So many more points than asked for are looked at first, because equal scores are ordered by ids.
const TIES: usize = 16;

/// A valid query with words or sparse vectors, of a space that indexes them.
pub(crate) struct WordSearch<'a> {
    pub(crate) truth: &'a Truth,
    pub(crate) space: &'a Space,
    pub(crate) query: &'a VectorQuery,
    pub(crate) rules: Arc<TextRules>,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
}

/// A scope that is searched, as of one mutation.
struct Part<'a> {
    scope: StateScope,
    namespace: &'a Arc<Namespace>,
    snapshot: Snapshot<'a>,
    texts: SnapshotTexts,
    hidden: RoaringBitmap,
    /// What the filter lets through, if there is one.
    matching: Option<RoaringBitmap>,
    /// Those of them that have a vector, if vectors are compared.
    passing: Option<Arc<Passing>>,
}

/// An entry, in the order of equal scores: by its scope, then by its id.
type Key = (usize, String);

/// What is known of an entry that a side found.
struct Candidate {
    point: PointId,
    record: Record,
    /// By the places of the sides that found it, without the vector.
    scores: BTreeMap<usize, f32>,
}

/// A side of a query that is not its vector.
struct Side<'q> {
    /// That of a sparse vector; none for words.
    name: Option<&'q str>,
    query: &'q Query,
    statistics: Statistics,
}

type Candidates = BTreeMap<Key, Candidate>;

/// The candidates of all sides, best first.
struct Ranked {
    order: Vec<(Key, f32)>,
    candidates: Candidates,
    /// Whether no side could have given more.
    is_all: bool,
}

impl WordSearch<'_> {
    /// The answer, of scopes that exist, in the order in which the query names them. May wait for the disk.
    ///
    /// # Errors
    ///
    /// `Data` or `Io` when rows or vectors cannot be read.
    pub(crate) fn answer(
        &self,
        namespaces: &[(StateScope, Arc<Namespace>)],
        trace: &mut Trace<'_>,
    ) -> Result<Vec<VectorResult>> {
        let (condition, asked) = (self.condition()?, self.asked());
        let mut parts = Vec::with_capacity(namespaces.len());
        for (scope, namespace) in namespaces {
            self.index(scope, namespace, condition.as_ref())?;
            let Some(snapshot) = Snapshot::take(self.truth, &self.space.slots, namespace)? else {
                continue;
            };
            parts.push(self.part((scope, namespace), snapshot, condition.as_ref(), &asked)?);
        }
        let statistics = statistics_of(&parts, &asked);
        self.answer_of(&parts, &sides(&asked, statistics), trace)
    }

    /// The answer of one moment.
    fn answer_of(&self, parts: &[Part<'_>], sides: &[Side<'_>], trace: &mut Trace<'_>) -> Result<Vec<VectorResult>> {
        self.begin_plan(parts, sides, trace);
        trace.stage("words");
        let wanted = self.query.k.saturating_add(self.query.offset);
        let is_chosen = self.query.mmr.is_some() || self.query.group_by.is_some();
        let is_ranked_anew = self.query.is_hybrid() || self.query.recency.is_some() || is_chosen;
        let mut candidates = if is_ranked_anew {
            self.query.candidates()
        } else {
            wanted
        };
        loop {
            let ranked = self.ranked(parts, sides, candidates, trace)?;
            let is_last = ranked.is_all || candidates >= K_MAX || self.query.group_by.is_none();
            let found = self.aged(parts, &ranked)?;
            let chosen = match is_chosen {
                false => found.into_iter().take(wanted).collect(),
                true => {
                    let described = self.described(parts, &ranked, found)?;
                    let (chosen, plan) = Selection::of_words(self.query, self.space, described);
                    trace.plan.selection = Some(plan);
                    trace.choose();
                    chosen
                }
            };
            if is_last || chosen.len() >= wanted {
                let mut results = self.resolve(parts, &ranked, sides, chosen)?;
                results.drain(..self.query.offset.min(results.len()));
                trace.stage("resolve");
                return Ok(results);
            }
            candidates = candidates.saturating_mul(4).min(K_MAX);
        }
    }

    fn asked(&self) -> Asked {
        self.rules.asked(self.query)
    }

    fn has_vector(&self) -> bool {
        !self.query.vector.is_empty()
    }

    fn condition(&self) -> Result<Option<Condition>> {
        let condition = self.query.whole_filter();
        let condition = condition.map(|filter| Condition::new(&filter, self.space.dates()));
        condition.transpose()
    }

    /// Has the indexes of a scope know what the search needs of them.
    fn index(&self, scope: &StateScope, namespace: &Arc<Namespace>, condition: Option<&Condition>) -> Result<()> {
        if let Some(condition) = condition {
            index_metadata(self.truth, self.space, scope, namespace, condition)?;
        }
        index_for_search(self.truth, self.space, scope, namespace, &self.rules)
    }

    /// A scope at the moment of a snapshot.
    fn part<'p>(
        &self,
        (scope, namespace): (&StateScope, &'p Arc<Namespace>),
        snapshot: Snapshot<'p>,
        condition: Option<&Condition>,
        asked: &Asked,
    ) -> Result<Part<'p>> {
        let hidden = snapshot.state.hidden(self.now);
        let matching = condition
            .map(|condition| snapshot.candidates(condition, &hidden))
            .transpose()?;
        let passing = matching.as_ref().filter(|_| self.has_vector()).map(|matching| {
            let state = &snapshot.state;
            Arc::new(Passing::new(&(matching - &*state.without_vector), &state.tail))
        });
        Ok(Part {
            scope: scope.clone(),
            namespace,
            texts: snapshot.texts_for(self.space, &self.rules, asked)?,
            hidden,
            matching,
            passing,
            snapshot,
        })
    }

    /// What is known before anything is searched.
    fn begin_plan(&self, parts: &[Part<'_>], sides: &[Side<'_>], trace: &mut Trace<'_>) {
        let mut plan = TextPlan::default();
        let words = sides.iter().find(|side| side.name.is_none());
        plan.words = words.map_or(0, |side| side.query.term_count() as u64);
        let has_sparse = sides.iter().any(|side| side.name.is_some());
        for part in parts {
            let index = &part.texts.index;
            plan.texts += index.words.text_count() + part.texts.scanned.1;
            plan.rows += part.texts.scanned.0;
            let searched = [(&index.words, words.is_some()), (&index.sparse, has_sparse)];
            for (texts, _) in searched.into_iter().filter(|(_, is_searched)| *is_searched) {
                plan.indexes += texts.indexes().count() as u64;
                plan.rows += texts.tail_len() as u64;
            }
        }
        plan.fusion = self.query.is_hybrid().then(|| self.query.fusion());
        if !self.has_vector() {
            trace.record_path(SearchPath::Words);
            let live = |part: &Part<'_>| part.snapshot.state.visible_count(self.now);
            trace.plan.live = parts.iter().map(live).sum();
            let matching = |part: &Part<'_>| part.matching.as_ref().map_or_else(|| live(part), RoaringBitmap::len);
            trace.plan.matching = parts.iter().map(matching).sum();
        }
        trace.plan.k = self.query.k;
        trace.plan.text = Some(plan);
    }

    /// One ranking of the best of all sides; each side gives this many candidates.
    fn ranked(&self, parts: &[Part<'_>], sides: &[Side<'_>], count: usize, trace: &mut Trace<'_>) -> Result<Ranked> {
        let mut candidates = Candidates::new();
        let mut lists = Vec::with_capacity(sides.len() + 1);
        for (place, side) in sides.iter().enumerate() {
            let found = self.by_terms(parts, (place, side), count, &mut candidates)?;
            if let Some(plan) = &mut trace.plan.text {
                match side.name {
                    None => plan.candidates = found.len() as u64,
                    Some(name) => drop(plan.sparse_candidates.insert(name.to_string(), found.len() as u64)),
                }
            }
            trace.stage(if side.name.is_none() { "words" } else { "sparse" });
            lists.push(found);
        }
        if self.has_vector() {
            let found = self.by_vector(parts, count, &mut candidates, trace)?;
            if let Some(plan) = &mut trace.plan.text {
                plan.vector_candidates = found.len() as u64;
            }
            lists.insert(0, found);
        }
        let is_all = lists.iter().all(|list| list.len() < count);
        let order = match lists.len() {
            0 | 1 => lists.pop().unwrap_or_default(),
            _ => {
                let order = fuse(self.query.fusion(), &lists)
                    .expect("the query was checked, and scores of what is stored are finite");
                if let Some(plan) = &mut trace.plan.text {
                    plan.fused = order.len() as u64;
                }
                trace.stage("fuse");
                order
            }
        };
        Ok(Ranked {
            order,
            candidates,
            is_all,
        })
    }

    /// The best of a side of words or of a sparse vector, with all candidates noted that they are.
    fn by_terms(
        &self,
        parts: &[Part<'_>],
        (side_place, side): (usize, &Side<'_>),
        count: usize,
        candidates: &mut Candidates,
    ) -> Result<Vec<(Key, f32)>> {
        // Of a hybrid search it is that of the vectors.
        let threshold = self.query.threshold.filter(|_| !self.query.is_hybrid());
        let mut hits = Vec::new();
        for (place, part) in parts.iter().enumerate() {
            for hit in part.best_by_terms(side, count) {
                if threshold.is_none_or(|threshold| hit.score >= threshold) {
                    hits.push((place, PointId(hit.point), hit.score));
                }
            }
        }
        // Of several scopes most are not among the best, and need no record.
        hits.sort_by(|(_, _, one), (_, _, other)| other.total_cmp(one));
        if let Some((_, _, last)) = hits.get(count.saturating_sub(1)).copied() {
            hits.retain(|(_, _, score)| *score >= last);
        }
        let records = records(parts)?;
        let mut found = Vec::with_capacity(hits.len());
        for (place, point, score) in hits {
            let record = records[place].get(point)?;
            found.push(((place, record.id.clone()), score, point, record));
        }
        found.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        found.truncate(count);
        let mut order = Vec::with_capacity(found.len());
        for (key, score, point, record) in found {
            let candidate = candidates.entry(key.clone()).or_insert(Candidate {
                point,
                record,
                scores: BTreeMap::new(),
            });
            candidate.scores.insert(side_place, score);
            order.push((key, score));
        }
        Ok(order)
    }

    /// The nearest, with all candidates noted that they are.
    fn by_vector(
        &self,
        parts: &[Part<'_>],
        count: usize,
        candidates: &mut Candidates,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<(Key, f32)>> {
        let mut side = self.query.vector_side(count);
        side.scopes = None;
        let mut found = Vec::new();
        for (place, part) in parts.iter().enumerate() {
            side.scope = part.scope.clone();
            let question = Question::new(&side, self.space, self.now)?;
            let search = Search {
                truth: self.truth,
                space: self.space,
                namespace: part.namespace,
                question: &question,
                waiting: Waiting::Allowed,
            };
            self.space.remember_query(&part.scope, part.namespace, &side);
            for Neighbor { distance, point } in search.nearest(&part.snapshot, part.passing.as_ref(), trace)? {
                found.push((place, point, distance));
            }
        }
        found.sort_by(|(_, _, one), (_, _, other)| one.total_cmp(other));
        if let Some((_, _, last)) = found.get(count.saturating_sub(1)).copied() {
            found.retain(|(_, _, distance)| distance.total_cmp(&last) != Ordering::Greater);
        }
        let records = records(parts)?;
        let mut order = Vec::with_capacity(found.len());
        for (place, point, distance) in found {
            let record = records[place].get(point)?;
            order.push(((place, record.id.clone()), distance, point, record));
        }
        order.sort_by(|one, other| one.1.total_cmp(&other.1).then_with(|| one.0.cmp(&other.0)));
        // A vertex of a damaged file may be taken for another point, which then occurs twice.
        order.dedup_by(|one, other| one.0 == other.0);
        order.truncate(count);
        let scored = order.into_iter().map(|(key, distance, point, record)| {
            candidates.entry(key.clone()).or_insert(Candidate {
                point,
                record,
                scores: BTreeMap::new(),
            });
            (key, self.space.metric.score(distance))
        });
        Ok(scored.collect())
    }

    /// The candidates as results, in the order of the query: with recency by age, too.
    fn aged(&self, parts: &[Part<'_>], ranked: &Ranked) -> Result<Vec<VectorResult>> {
        let ranking = Ranking::new(self.query, self.now);
        let mut found: Vec<VectorResult> = Vec::with_capacity(ranked.order.len());
        for ((place, id), score) in &ranked.order {
            let mut result = VectorResult::of_words(id.clone(), *score);
            result.scope = Some(parts[*place].scope.clone());
            if ranking.needs_times() {
                let candidate = &ranked.candidates[&(*place, id.clone())];
                ranking.age(&mut result, &candidate.record.times());
            }
            found.push(result);
        }
        // Stable: what is equally good stays in its order.
        found.sort_by(VectorResult::rank);
        Ok(found)
    }

    /// The key of a result, and its candidate.
    fn candidate<'r>(&self, parts: &[Part<'_>], ranked: &'r Ranked, result: &VectorResult) -> (usize, &'r Candidate) {
        let of_scope = |part: &Part<'_>| Some(&part.scope) == result.scope.as_ref();
        let place = parts
            .iter()
            .position(of_scope)
            .expect("results are of scopes that were searched");
        let candidate = ranked.candidates.get(&(place, result.id.clone()));
        (place, candidate.expect("results are candidates"))
    }

    /// With vectors and metadata, as far as they decide what is chosen.
    fn described(&self, parts: &[Part<'_>], ranked: &Ranked, found: Vec<VectorResult>) -> Result<Vec<VectorResult>> {
        let describe = |mut result: VectorResult| {
            let (place, candidate) = self.candidate(parts, ranked, &result);
            let snapshot = &parts[place].snapshot;
            if self.query.mmr.is_some() {
                let vector = snapshot.vector(candidate.point, &candidate.record)?;
                result.vector = vector.map(<[f32]>::to_vec);
            }
            if self.query.group_by.is_some() {
                result.metadata = Some(snapshot.metadata(candidate.point, &candidate.record)?);
            }
            Ok(result)
        };
        found.into_iter().map(describe).collect()
    }

    /// The scores of chosen candidates on sides of which they are no candidates: by side, part and point.
    fn other_scores(
        &self,
        parts: &[Part<'_>],
        ranked: &Ranked,
        sides: &[Side<'_>],
        chosen: &[VectorResult],
    ) -> BTreeMap<(usize, usize, u32), f32> {
        let mut scores = BTreeMap::new();
        for (side_place, side) in sides.iter().enumerate() {
            let mut unscored: Vec<RoaringBitmap> = vec![RoaringBitmap::new(); parts.len()];
            for result in chosen {
                let (place, candidate) = self.candidate(parts, ranked, result);
                if !candidate.scores.contains_key(&side_place) {
                    unscored[place].insert(candidate.point.0);
                }
            }
            for (place, (part, points)) in parts.iter().zip(&unscored).enumerate() {
                for texts in part.texts_of(side).filter(|_| !points.is_empty()) {
                    for hit in texts.scores(side.query, &side.statistics, Bm25::default(), points) {
                        scores.insert((side_place, place, hit.point), hit.score);
                    }
                }
            }
        }
        scores
    }

    /// Adds the scores of all sides, and what the query asks for.
    fn resolve(
        &self,
        parts: &[Part<'_>],
        ranked: &Ranked,
        sides: &[Side<'_>],
        chosen: Vec<VectorResult>,
    ) -> Result<Vec<VectorResult>> {
        let query = self.query;
        let distance = self
            .has_vector()
            .then(|| ExactDistance::new(kernel_metric(self.space.metric), &query.vector));
        let scores = self.other_scores(parts, ranked, sides, &chosen);
        let words = sides.iter().find(|side| side.name.is_none());
        let is_of_one = query.scopes.is_none();
        let mut results = Vec::with_capacity(chosen.len());
        for mut result in chosen {
            let (place, candidate) = self.candidate(parts, ranked, &result);
            let (snapshot, point, record) = (&parts[place].snapshot, candidate.point, &candidate.record);
            let vector = match distance.is_some() || query.include_vectors {
                true => snapshot.vector(point, record)?,
                false => None,
            };
            for (side_place, side) in sides.iter().enumerate() {
                let known = candidate.scores.get(&side_place);
                let score = known.or_else(|| scores.get(&(side_place, place, point.0))).copied();
                match (side.name, score) {
                    (None, score) => result.text_score = score,
                    (Some(name), Some(score)) => drop(result.sparse_scores.insert(name.to_string(), score)),
                    (Some(_), None) => {}
                }
            }
            result.vector_score = distance.as_ref().zip(vector).map(|(distance, vector)| {
                let leading = &vector[..distance.dim()];
                self.space.metric.score(distance.distance(leading))
            });
            result.vector = vector.filter(|_| query.include_vectors).map(<[f32]>::to_vec);
            let needs_metadata = query.include_metadata || query.snippets.is_some() && self.rules.reads_metadata();
            let metadata = needs_metadata.then(|| snapshot.metadata(point, record)).transpose()?;
            let needs_text = query.include_texts || query.snippets.is_some();
            let own = match needs_text {
                true => snapshot.stored_text(point, record)?,
                false => None,
            };
            result.snippet = query.snippets.zip(words).and_then(|(bytes_max, words)| {
                let nothing = llmspell_core::Metadata::new();
                let metadata = metadata.as_ref().unwrap_or(&nothing);
                self.rules.snippet(own.as_ref(), metadata, words.query, bytes_max)
            });
            result.metadata = metadata.filter(|_| query.include_metadata);
            result.text = own.filter(|_| query.include_texts).and_then(StoredText::into_text);
            if is_of_one {
                result.scope = None;
            }
            results.push(result);
        }
        Ok(results)
    }
}

/// What scores of words depend on, of all parts together.
fn statistics_of(parts: &[Part<'_>], asked: &Asked) -> Statistics {
    let mut statistics = Statistics::default();
    if let Some(words) = &asked.words {
        for part in parts {
            statistics.add(&part.texts.statistics(words));
        }
    }
    statistics
}

/// The sides of a query without its vector: its words first, with these statistics.
fn sides(asked: &Asked, of_words: Statistics) -> Vec<Side<'_>> {
    let words = asked.words.as_ref().map(|query| Side {
        name: None,
        query,
        statistics: of_words,
    });
    let sparse = asked.sparse.iter().map(|(name, query)| Side {
        name: Some(name),
        query,
        statistics: Statistics::none(query),
    });
    words.into_iter().chain(sparse).collect()
}

/// A scope in the space of one of several searches.
pub(crate) struct SearchedScope<'a> {
    /// The place of the search.
    pub(crate) search: usize,
    pub(crate) scope: &'a StateScope,
    pub(crate) namespace: Arc<Namespace>,
}

/// The answers of several spaces to one query of words, each with the place of its search, and all as of one commit; none if
/// no transaction sees what was loaded, or if `is_whole` says that it sees more.
///
/// Statistics are of all spaces that read the query alike, so that scores can be compared. May wait for the disk.
///
/// # Errors
///
/// `Data` or `Io` when rows or vectors cannot be read.
pub(crate) fn answer_together(
    searches: &[WordSearch<'_>],
    scopes: &[SearchedScope<'_>],
    is_whole: impl FnOnce(&Read) -> Result<bool>,
    trace: &mut Trace<'_>,
) -> Result<Option<Vec<(usize, VectorResult)>>> {
    let Some(first) = searches.first() else {
        return Ok(Some(Vec::new()));
    };
    let conditions: Vec<_> = searches.iter().map(WordSearch::condition).collect::<Result<_>>()?;
    let mut parts = Vec::with_capacity(scopes.len());
    for of in scopes {
        let search = &searches[of.search];
        search.index(of.scope, &of.namespace, conditions[of.search].as_ref())?;
        parts.push((&search.space.slots, &*of.namespace));
    }
    let Some(snapshots) = Snapshot::take_together(first.truth, &parts, is_whole)? else {
        return Ok(None);
    };
    let asked: Vec<Asked> = searches.iter().map(WordSearch::asked).collect();
    let mut parts: Vec<Vec<Part<'_>>> = searches.iter().map(|_| Vec::new()).collect();
    for (of, snapshot) in scopes.iter().zip(snapshots) {
        let (search, at) = (&searches[of.search], of.search);
        let condition = conditions[at].as_ref();
        parts[at].push(search.part((of.scope, &of.namespace), snapshot, condition, &asked[at])?);
    }
    let own: Vec<Statistics> = parts
        .iter()
        .zip(&asked)
        .map(|(parts, asked)| statistics_of(parts, asked))
        .collect();
    let mut found = Vec::new();
    for (at, search) in searches.iter().enumerate() {
        let mut statistics = Statistics::default();
        for (asked_there, of_space) in asked.iter().zip(&own) {
            if *asked_there == asked[at] {
                statistics.add(of_space);
            }
        }
        let answer = search.answer_of(&parts[at], &sides(&asked[at], statistics), trace)?;
        found.extend(answer.into_iter().map(|result| (at, result)));
    }
    Ok(Some(found))
}

/// The records of each part.
fn records<'p>(parts: &'p [Part<'_>]) -> Result<Vec<Records<'p>>> {
    let of_part = |part: &'p Part<'_>| part.snapshot.read.records(part.namespace.scope_id);
    parts.iter().map(of_part).collect()
}

impl Part<'_> {
    /// All that a side may find.
    fn texts_of<'p>(&'p self, side: &Side<'_>) -> Box<dyn Iterator<Item = &'p Texts> + 'p> {
        match side.name {
            None => Box::new(self.texts.words()),
            Some(_) => Box::new(self.texts.sparse()),
        }
    }

    /// The best points of a side, and all that score as the last of them: among these, the ids decide.
    fn best_by_terms(&self, side: &Side<'_>, count: usize) -> Vec<llmspell_text::Hit> {
        let state = &self.snapshot.state;
        let is_visible = |point: u32| state.lives(PointId(point)) && !self.hidden.contains(point);
        let mut wanted = count.saturating_add(TIES);
        loop {
            let mut search = TextSearch::best(wanted).accepting(&is_visible);
            if let Some(matching) = &self.matching {
                search = search.among(matching);
            }
            let mut hits: Vec<_> = self
                .texts_of(side)
                .flat_map(|texts| texts.search(side.query, &side.statistics, &search))
                .collect();
            hits.sort_by(|one, other| other.score.total_cmp(&one.score));
            hits.truncate(wanted);
            let Some(last) = hits.get(count.saturating_sub(1)).map(|hit| hit.score) else {
                return hits;
            };
            let is_whole = hits.len() < wanted || hits.last().is_some_and(|hit| hit.score < last);
            if is_whole {
                hits.retain(|hit| hit.score >= last);
                return hits;
            }
            wanted = wanted.saturating_mul(4);
        }
    }
}

impl Search<'_> {
    /// The nearest points of a snapshot within the threshold, among all or those that pass, and all that tie with the last of
    /// them.
    fn nearest(
        &self,
        snapshot: &Snapshot<'_>,
        passing: Option<&Arc<Passing>>,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<Neighbor>> {
        let (query, state) = (self.query(), &snapshot.state);
        if let Some(index) = index_for(query, state) {
            let mut scratch = self.space.scratch();
            let search = Indexed::new(self, state, index, &snapshot.view);
            let hits = match passing {
                None => search.find(&mut scratch, trace),
                Some(passing) => {
                    self.count(state, passing, trace);
                    self.hits_among(&search, (state, index), passing, &mut scratch, trace)
                }
            };
            match hits {
                Ok(hits) => {
                    trace.stage("search");
                    return Ok(hits.iter().map(Hit::neighbor).collect());
                }
                Err(miss) => self.fall_back(miss, index)?,
            }
        }
        let now = self.question.now();
        trace.record_path(SearchPath::Exact);
        trace.plan.live = state.visible_vectors(now);
        trace.plan.matching = passing.map_or(trace.plan.live, |passing| passing.len());
        trace.plan.distances += trace.plan.matching;
        if state.index.is_none() {
            trace.plan.tail = trace.plan.matching;
        }
        let candidates = passing.map(|passing| passing.points());
        match &candidates {
            Some(candidates) if state.index.is_some() => {
                self.namespace
                    .verify_points(candidates, state, &self.space.slots, &snapshot.view)?;
            }
            _ => self.namespace.verify(state, &self.space.slots, &snapshot.view)?,
        }
        let distance = ExactDistance::new(kernel_metric(self.space.metric), &query.vector);
        let hidden = state.hidden(now);
        let tail = Tail {
            dim: distance.dim(),
            state,
            view: &snapshot.view,
            hidden: &hidden,
            candidates: candidates.as_ref(),
        };
        let mut nearest = tail.nearest(&distance, query.k);
        if let Some(threshold) = query.threshold {
            nearest.retain(|neighbor| self.space.metric.score(neighbor.distance) >= threshold);
        }
        trace.stage("search");
        Ok(nearest)
    }
}
