//! [`Selection`]: diverse or grouped results, selected from the nearest entries. For implementers.
//!
//! A layer over the search: it asks for more than `k` candidates and selects the results from them. If groups leave
//! fewer than `k`, it asks again, for more and without the full groups.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use llmspell_state_traits::StateScope;

use super::query::{VectorQuery, VectorResult};
use super::selection::SelectionPlan;
use crate::filter::{DateFields, Filter, Scalar};
use crate::limits::K_MAX;
use crate::metric::DistanceMetric;

/// The first search looks for this many of the nearest per result,
const SHORTLIST_PER_K: usize = 4;
/// and at least for this many.
const SHORTLIST_MIN: usize = 100;
/// More multiplications than this take longer than 200 µs.
const QUICK_COMPONENTS: usize = 1 << 20;

/// The distances of one vector from others, as an engine computes them.
pub type DistancesFrom<'v> = Box<dyn Fn(&[f32]) -> f32 + 'v>;

/// The candidates for a query with `mmr` or `group_by` so far, and the next search. For implementers: search for
/// [`next`](Self::next), [`take`](Self::take) the answer, and repeat as long as `take` asks for it.
#[derive(Debug)]
pub struct Selection {
    asked: VectorQuery,
    metric: DistanceMetric,
    /// By which scores are divided: of words, where they have no range of their own.
    best_score: Option<f64>,
    /// Whether the filter can exclude a group as groups are defined here.
    filters_groups: bool,
    next: VectorQuery,
    found: Vec<VectorResult>,
    seen: HashSet<(Option<StateScope>, String)>,
    full: HashSet<Scalar>,
    taken: Vec<usize>,
    plan: SelectionPlan,
}

impl Selection {
    /// For a valid query of a space with this metric and these date fields; none if it simply takes the nearest.
    #[must_use]
    pub fn of(query: &VectorQuery, metric: DistanceMetric, dates: &DateFields) -> Option<Self> {
        if query.mmr.is_none() && query.group_by.is_none() {
            return None;
        }
        let asked = query.with_passed_over();
        let mut next = asked.clone();
        (next.mmr, next.group_by) = (None, None);
        next.include_vectors |= asked.mmr.is_some();
        next.include_metadata |= asked.group_by.is_some();
        let mut selection = Self {
            metric,
            best_score: None,
            // In date fields the filter compares moments, and different texts may be one moment.
            filters_groups: asked.group_by.as_ref().is_some_and(|by| !dates.contains(&by.field)),
            plan: SelectionPlan::of(&asked),
            asked,
            next,
            found: Vec::new(),
            seen: HashSet::new(),
            full: HashSet::new(),
            taken: Vec::new(),
        };
        selection.look_for((SHORTLIST_PER_K * selection.asked.k).max(SHORTLIST_MIN));
        Some(selection)
    }

    /// Chooses among all candidates of a query with words, which are in their order, with what decides. Also says what was
    /// done. `distances` as in [`take`](Self::take).
    #[must_use]
    pub fn of_words(
        query: &VectorQuery,
        metric: DistanceMetric,
        found: Vec<VectorResult>,
        distances: &dyn Fn(&[f32]) -> DistancesFrom<'static>,
    ) -> (Vec<VectorResult>, SelectionPlan) {
        let asked = query.with_passed_over();
        let mut selection = Self {
            metric,
            filters_groups: false,
            plan: SelectionPlan::of(&asked),
            next: asked.clone(),
            best_score: found.first().map(relevance),
            found,
            asked,
            seen: HashSet::new(),
            full: HashSet::new(),
            taken: Vec::new(),
        };
        selection.plan.searches = 1;
        selection.plan.candidates = selection.found.len() as u64;
        selection.plan.shortlist = query.candidates() as u64;
        let mut groups = Groups::of(&selection);
        selection.taken = match selection.asked.mmr {
            Some(lambda) => selection.diverse(f64::from(lambda), &mut groups, distances),
            None => selection.nearest(&mut groups),
        };
        let plan = selection.plan();
        (selection.into_results(0), plan)
    }

    /// The next search to do.
    #[must_use]
    pub fn next(&self) -> &VectorQuery {
        &self.next
    }

    /// Whether selecting takes so little time that it can be done in place.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.asked.mmr.is_none() || self.asked.k * self.next.k * self.asked.vector.len() <= QUICK_COMPONENTS
    }

    /// Selects from all candidates, after a search. Returns whether another search is needed. `distances` prepares a vector
    /// to be compared with many.
    pub fn take(&mut self, found: Vec<VectorResult>, distances: &dyn Fn(&[f32]) -> DistancesFrom<'static>) -> bool {
        let is_all = found.len() < self.next.k;
        for result in found {
            if self.seen.insert((result.scope.clone(), result.id.clone())) {
                self.found.push(result);
            }
        }
        self.sort();
        let mut groups = Groups::of(self);
        self.taken = match self.asked.mmr {
            Some(lambda) => self.diverse(f64::from(lambda), &mut groups, distances),
            None => self.nearest(&mut groups),
        };
        let full = groups.full();
        self.plan.searches += 1;
        self.plan.shortlist = self.next.k as u64;
        self.plan.candidates = self.found.len() as u64;
        self.taken.len() < self.asked.k && !is_all && self.look_further(full)
    }

    /// What was done, for `explain`.
    #[must_use]
    pub fn plan(&self) -> SelectionPlan {
        self.plan.clone()
    }

    /// The results, each with the parts that the query asked for.
    #[must_use]
    pub fn into_results(mut self, offset: usize) -> Vec<VectorResult> {
        let (with_metadata, with_vectors) = (self.asked.include_metadata, self.asked.include_vectors);
        let mut found: Vec<Option<VectorResult>> = self.found.drain(..).map(Some).collect();
        let taken = self.taken.iter().skip(offset);
        taken
            .filter_map(|place| found[*place].take())
            .map(|mut result| {
                result.metadata = result.metadata.filter(|_| with_metadata);
                result.vector = result.vector.filter(|_| with_vectors);
                result
            })
            .collect()
    }

    /// Sorts the candidates in the order of a search.
    fn sort(&mut self) {
        let scopes = self.asked.searched_scopes();
        let places: HashMap<&StateScope, usize> = scopes.into_iter().zip(0..).collect();
        let place = |result: &VectorResult| result.scope.as_ref().and_then(|scope| places.get(scope));
        let order = |a: &VectorResult, b: &VectorResult| -> Ordering {
            let by_rank = a.rank(b).then_with(|| place(a).cmp(&place(b)));
            by_rank.then_with(|| a.id.cmp(&b.id))
        };
        self.found.sort_by(order);
    }

    /// The best candidates, as far as their groups have room.
    fn nearest(&self, groups: &mut Groups) -> Vec<usize> {
        let all = 0..self.found.len();
        all.filter(|place| groups.admit(*place)).take(self.asked.k).collect()
    }

    /// By maximal marginal relevance, as far as their groups have room.
    fn diverse(
        &self,
        lambda: f64,
        groups: &mut Groups,
        distances: &dyn Fn(&[f32]) -> DistancesFrom<'static>,
    ) -> Vec<usize> {
        let mut taken = Vec::with_capacity(self.asked.k);
        let mut left: Vec<(usize, f64)> = (0..self.found.len()).map(|place| (place, f64::NEG_INFINITY)).collect();
        while taken.len() < self.asked.k {
            left.retain(|(place, _)| groups.has_room(*place));
            let Some(best) = self.most_marginal(lambda, &left) else {
                break;
            };
            let (place, _) = left.remove(best);
            groups.admit(place);
            taken.push(place);
            self.compare(place, &mut left, distances);
        }
        taken
    }

    /// The remaining candidate to take next: the first of equal ones, which is the nearest.
    fn most_marginal(&self, lambda: f64, left: &[(usize, f64)]) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (index, (place, likeness)) in left.iter().enumerate() {
            let result = &self.found[*place];
            let relevance = relevance(result) / self.best_score.unwrap_or(1.0);
            // There is no penalty for the first one; the nearest is taken whatever the weight.
            let penalty = if likeness.is_finite() {
                (1.0 - lambda) * likeness
            } else {
                0.0
            };
            let marginal = lambda * relevance - penalty;
            if best.is_none_or(|(_, so_far)| marginal > so_far) {
                best = Some((index, marginal));
            }
        }
        best.map(|(index, _)| index)
    }

    /// Updates the likeness of each remaining candidate to those taken, by as many components as the query has.
    fn compare(&self, taken: usize, left: &mut [(usize, f64)], distances: &dyn Fn(&[f32]) -> DistancesFrom<'static>) {
        let dim = self.asked.vector.len();
        let vector = |place: usize| {
            let vector = self.found[place].vector.as_ref().filter(|vector| !vector.is_empty())?;
            if dim == 0 { Some(&vector[..]) } else { vector.get(..dim) }
        };
        let Some(own) = vector(taken) else { return };
        let distance = distances(own);
        for (place, likeness) in left {
            let Some(other) = vector(*place) else { continue };
            // Finite, so that it differs from "none taken yet".
            let score = self.metric.score(distance(other)).clamp(f32::MIN, f32::MAX);
            *likeness = likeness.max(f64::from(score));
        }
    }

    /// Prepares another search, for twice as many and without full groups. Returns whether it can find more.
    fn look_further(&mut self, full: HashSet<Scalar>) -> bool {
        let (length, known) = (self.next.k, self.full.len());
        self.look_for(2 * length);
        self.full.extend(full);
        if let Some(filter) = self.without_full() {
            self.next.filter = Some(filter);
            return self.next.k > length || self.full.len() > known;
        }
        self.next.k > length
    }

    /// The filter of the query, excluding full groups; none if no filter can do so.
    fn without_full(&self) -> Option<Filter> {
        let group_by = self.asked.group_by.as_ref().filter(|_| self.filters_groups)?;
        let values = self.full.iter().cloned().collect();
        let field = group_by.field.clone();
        let others = Filter::not(Filter::In { field, values });
        let filter = match &self.asked.filter {
            Some(filter) => filter.clone().and(others),
            None => others,
        };
        let whole = self.asked.clone().with_filter(filter.clone());
        let is_valid = whole.whole_filter().is_some_and(|whole| whole.validate().is_ok());
        is_valid.then_some(filter)
    }

    fn look_for(&mut self, length: usize) {
        self.next.k = length.min(K_MAX);
        self.next.ef_search = self.asked.ef_search.map(|ef_search| ef_search.max(self.next.k));
    }
}

/// What a result is ranked by.
fn relevance(result: &VectorResult) -> f64 {
    f64::from(result.recency_score.unwrap_or(result.score))
}

/// Number of results taken from each group.
struct Groups {
    /// The group of each candidate.
    of: Vec<Option<Scalar>>,
    taken: HashMap<Scalar, usize>,
    per_group: usize,
}

impl Groups {
    fn of(selection: &Selection) -> Self {
        let group = |result: &VectorResult| {
            let group_by = selection.asked.group_by.as_ref()?;
            group_by.group_of(result.metadata.as_ref()?)
        };
        Self {
            of: selection.found.iter().map(group).collect(),
            taken: HashMap::new(),
            per_group: selection.asked.group_by.as_ref().map_or(usize::MAX, |by| by.per_group),
        }
    }

    /// Whether the group of this candidate has room.
    fn has_room(&self, place: usize) -> bool {
        let taken = self.of[place].as_ref().and_then(|group| self.taken.get(group));
        taken.is_none_or(|taken| *taken < self.per_group)
    }

    /// Counts this candidate, if its group has room.
    fn admit(&mut self, place: usize) -> bool {
        if !self.has_room(place) {
            return false;
        }
        if let Some(group) = &self.of[place] {
            *self.taken.entry(group.clone()).or_default() += 1;
        }
        true
    }

    fn full(self) -> HashSet<Scalar> {
        let per_group = self.per_group;
        let full = self.taken.into_iter().filter(|(_, taken)| *taken >= per_group);
        full.map(|(group, _)| group).collect()
    }
}
