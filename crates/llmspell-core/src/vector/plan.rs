//! [`SearchPlan`]: how a query was answered, and why.

use std::collections::BTreeMap;
use std::fmt;

use llmspell_text::Fusion;
use serde::{Deserialize, Serialize};

use super::ef::EfChoice;
use super::recency::RecencyPlan;
use super::selection::SelectionPlan;

/// A path: a way to find the nearest entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SearchPath {
    /// Every matching vector is compared.
    #[default]
    Exact,
    /// The codes of all matches are compared, then the vectors of the nearest.
    CodeScan,
    /// A walk through the graph whose beam holds only matches.
    GraphInside,
    /// A walk through the graph, whose results are filtered afterwards.
    GraphAfter,
    /// A walk through the graph, without a filter.
    Graph,
    /// Words alone: no vector is compared.
    Words,
}

impl SearchPath {
    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::CodeScan => "scan of codes",
            Self::GraphInside => "graph, filter inside the walk",
            Self::GraphAfter => "graph, filter on the result",
            Self::Graph => "graph",
            Self::Words => "words",
        }
    }
}

/// The estimated cost of a path.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PathCost {
    /// The path.
    pub path: SearchPath,
    /// Microseconds, from constants measured once on one machine: they are meant for comparing paths.
    pub micros: f64,
}

impl PathCost {
    /// The cost of a path. For implementers.
    #[must_use]
    pub fn new(path: SearchPath, micros: f64) -> Self {
        Self { path, micros }
    }
}

/// The time of one part of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SearchStage {
    /// Its name: `filter`, `search`, `resolve`.
    pub name: String,
    /// Microseconds, measured.
    pub micros: f64,
}

impl SearchStage {
    /// The time of one part. For implementers.
    #[must_use]
    pub fn new(name: impl Into<String>, micros: f64) -> Self {
        Self {
            name: name.into(),
            micros,
        }
    }
}

/// The part of a [`SearchPlan`] about words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TextPlan {
    /// Different words that are searched for, each counted once in each field; those of prefixes not. 0 in stores that do
    /// not count them.
    pub words: u64,
    /// Entries of the scope that have words.
    pub texts: u64,
    /// Indexes that were searched.
    pub indexes: u64,
    /// Rows that are in no index yet and were looked at one by one.
    pub rows: u64,
    /// Entries that the words found, at most as many as were asked for.
    pub candidates: u64,
    /// Of a hybrid search: entries that the vector found, at most as many as were asked for.
    pub vector_candidates: u64,
    /// Entries that each sparse vector found, by its name, at most as many as were asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sparse_candidates: BTreeMap<String, u64>,
    /// Of a hybrid search: entries that all sides found together.
    pub fused: u64,
    /// Of a hybrid search: how all sides became one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<Fusion>,
}

/// One line.
impl fmt::Display for TextPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in {} texts: {} indexes, {} rows one by one, {} found",
            self.words, self.texts, self.indexes, self.rows, self.candidates
        )
    }
}

/// How a query was answered: the result of [`VectorStorage::explain`](super::VectorStorage::explain). All numbers are
/// counted, except the estimates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SearchPlan {
    /// The space that was searched, if the store has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// Visible entries of the scope. 0 means that the scope does not exist: an empty scope is removed.
    pub live: u64,
    /// Number of them that match the filter; all without one.
    pub matching: u64,
    /// Number of matches that no graph holds: they are compared one by one, whatever the path.
    pub tail: u64,
    /// Results wanted.
    pub k: usize,
    /// Width of the beam that the query or the store set; 0 if there is no graph.
    pub ef: usize,
    /// Why the beam has this width; none if there is no graph, and in stores that do not choose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef_choice: Option<EfChoice>,
    /// The paths that were considered; empty if there was no choice.
    pub estimates: Vec<PathCost>,
    /// The paths that were taken, in order: the last one gave the answer. There is more than one if a walk met too few
    /// matches, or became more expensive than the next path.
    pub paths: Vec<SearchPath>,
    /// Codes compared.
    pub codes: u64,
    /// Link lists read.
    pub lists: u64,
    /// Exact distances computed, including those of `rescored`.
    pub distances: u64,
    /// Number of these distances that were of a shortlist found by codes.
    pub rescored: u64,
    /// Candidates that codes could not tell from the `k`-th best and that were not compared exactly, because a search
    /// compares at most `ef` of them, or 4,096 if that is more: nearly always 0. A larger `ef_search` compares them.
    #[serde(default)]
    pub undecided: u64,
    /// Number of results.
    pub results: usize,
    /// How recency was applied, if the query has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recency: Option<RecencyPlan>,
    /// The side of the words, if the query has some. The other numbers are of the vector side, and 0 without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextPlan>,
    /// How results were selected from the nearest, if the query asked for diversity or groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<SelectionPlan>,
    /// The parts of the search, in order.
    pub stages: Vec<SearchStage>,
}

impl SearchPlan {
    /// The path that gave the answer.
    #[must_use]
    pub fn path(&self) -> SearchPath {
        self.paths.last().copied().unwrap_or_default()
    }
}

/// A small table, one line per question.
impl fmt::Display for SearchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.matching as f64 / self.live.max(1) as f64;
        if let Some(space) = &self.space {
            writeln!(f, "space      {space}")?;
        }
        match self.live {
            0 => writeln!(f, "entries    0 live: nothing is in this scope, check its name")?,
            live => writeln!(f, "entries    {live} live")?,
        }
        writeln!(
            f,
            "matching   {} ({share:.2} %), {} not in the graph",
            self.matching, self.tail
        )?;
        writeln!(f, "wanted     {} with a beam of {}", self.k, self.ef)?;
        if let Some(choice) = &self.ef_choice {
            writeln!(f, "beam       {choice}")?;
        }
        for (place, cost) in self.estimates.iter().enumerate() {
            let head = if place == 0 { "estimated" } else { "" };
            writeln!(f, "{head:<10} {:>9.1} µs  {}", cost.micros, cost.path.name())?;
        }
        for (place, path) in self.paths.iter().enumerate() {
            let head = if place == 0 { "path" } else { "then" };
            writeln!(f, "{head:<10} {}", path.name())?;
        }
        writeln!(f, "codes      {}", self.codes)?;
        writeln!(f, "lists      {}", self.lists)?;
        write!(f, "distances  {}, of them {} rescored", self.distances, self.rescored)?;
        match self.undecided {
            0 => writeln!(f)?,
            undecided => writeln!(f, ", {undecided} left undecided by codes")?,
        }
        if let Some(text) = &self.text {
            writeln!(f, "words      {text}")?;
            for (name, found) in &text.sparse_candidates {
                writeln!(f, "sparse     {name}: {found} found")?;
            }
            if let Some(fusion) = &text.fusion {
                write!(
                    f,
                    "fusion     {fusion}, {} by vector and {} by words",
                    text.vector_candidates, text.candidates
                )?;
                match text.sparse_candidates.values().sum::<u64>() {
                    0 => {}
                    by_sparse => write!(f, " and {by_sparse} by sparse vectors")?,
                }
                writeln!(f, " are {} entries", text.fused)?;
            }
        }
        if let Some(recency) = &self.recency {
            writeln!(
                f,
                "recency    half-life of {}, {} ranked anew of a shortlist of {}",
                duration(recency.half_life_ms),
                recency.ranked,
                recency.shortlist
            )?;
        }
        if let Some(selection) = &self.selection {
            writeln!(f, "selection  {selection}")?;
        }
        for (place, stage) in self.stages.iter().enumerate() {
            let head = if place == 0 { "time" } else { "" };
            writeln!(f, "{head:<10} {:>9.1} µs  {}", stage.micros, stage.name)?;
        }
        write!(f, "results    {}", self.results)
    }
}

/// In the largest unit that divides it.
fn duration(millis: u64) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
        (1, "ms"),
    ];
    let whole = units
        .into_iter()
        .find(|(unit, _)| millis.is_multiple_of(*unit) && millis > 0);
    let (unit, name) = whole.unwrap_or((1, "ms"));
    format!("{} {name}", millis / unit)
}

#[cfg(test)]
mod tests {
    use super::super::ef::EfSource;
    use super::*;

    fn plan() -> SearchPlan {
        SearchPlan {
            space: None,
            live: 50_000,
            matching: 2_500,
            tail: 7,
            k: 10,
            ef: 100,
            ef_choice: None,
            estimates: vec![
                PathCost::new(SearchPath::Exact, 250.0),
                PathCost::new(SearchPath::GraphInside, 71.25),
            ],
            paths: vec![SearchPath::GraphInside, SearchPath::CodeScan],
            codes: 3_100,
            lists: 400,
            distances: 23,
            rescored: 16,
            undecided: 0,
            results: 10,
            recency: None,
            text: None,
            selection: None,
            stages: vec![SearchStage::new("filter", 12.0), SearchStage::new("search", 80.5)],
        }
    }

    #[test]
    fn a_plan_is_a_small_table() {
        let expected = "\
entries    50000 live
matching   2500 (5.00 %), 7 not in the graph
wanted     10 with a beam of 100
estimated      250.0 µs  exact
                71.2 µs  graph, filter inside the walk
path       graph, filter inside the walk
then       scan of codes
codes      3100
lists      400
distances  23, of them 16 rescored
time            12.0 µs  filter
                80.5 µs  search
results    10";
        assert_eq!(plan().to_string(), expected);
        let of_nothing = SearchPlan { live: 0, ..plan() };
        let line = "entries    0 live: nothing is in this scope, check its name\nmatching";
        assert!(of_nothing.to_string().starts_with(line), "{of_nothing}");
        let undecided = SearchPlan { undecided: 7, ..plan() };
        assert!(
            undecided
                .to_string()
                .contains("of them 16 rescored, 7 left undecided by codes\n")
        );
        let choice = EfChoice::new(100, EfSource::Query, 0.98, None);
        let with_choice = SearchPlan {
            ef_choice: Some(choice),
            ..plan()
        };
        let line = "beam of 100\nbeam       100, named by the query\nest";
        assert_eq!(with_choice.to_string(), expected.replace("beam of 100\nest", line));
        let recency = RecencyPlan::new(std::time::Duration::from_secs(7 * 86_400), 80, 16);
        let with_recency = SearchPlan {
            recency: Some(recency),
            ..plan()
        };
        let line = "16 rescored\nrecency    half-life of 7 d, 16 ranked anew of a shortlist of 80\ntime";
        assert_eq!(with_recency.to_string(), expected.replace("16 rescored\ntime", line));
    }

    #[test]
    fn a_plan_of_a_hybrid_search_shows_both_sides() {
        let text = TextPlan {
            words: 3,
            texts: 49_000,
            indexes: 2,
            rows: 70,
            candidates: 100,
            vector_candidates: 100,
            sparse_candidates: BTreeMap::new(),
            fused: 180,
            fusion: Some(Fusion::default()),
        };
        let hybrid = SearchPlan {
            text: Some(text.clone()),
            ..plan()
        };
        let lines = "16 rescored\n\
            words      3 in 49000 texts: 2 indexes, 70 rows one by one, 100 found\n\
            fusion     rrf:10, 100 by vector and 100 by words are 180 entries\ntime";
        assert!(hybrid.to_string().contains(lines), "{hybrid}");
        assert_eq!(
            serde_json::from_value::<SearchPlan>(serde_json::to_value(&hybrid).unwrap()).unwrap(),
            hybrid
        );
        let with_sparse = TextPlan {
            sparse_candidates: BTreeMap::from([("splade".to_string(), 40)]),
            ..text.clone()
        };
        let three = SearchPlan {
            text: Some(with_sparse),
            ..plan()
        };
        let lines = "100 found\n\
            sparse     splade: 40 found\n\
            fusion     rrf:10, 100 by vector and 100 by words and 40 by sparse vectors are 180 entries\ntime";
        assert!(three.to_string().contains(lines), "{three}");
        let alone = SearchPlan {
            text: Some(TextPlan { fusion: None, ..text }),
            paths: vec![SearchPath::Words],
            ..plan()
        };
        assert!(alone.to_string().contains("path       words\n"), "{alone}");
        assert!(!alone.to_string().contains("fusion"), "{alone}");
    }

    #[test]
    fn a_half_life_is_written_in_its_unit() {
        let written = [0, 1, 1_500, 2_000, 90_000, 120_000, 5_400_000, 7_200_000, 86_400_000].map(duration);
        let expected = [
            "0 ms", "1 ms", "1500 ms", "2 s", "90 s", "2 min", "90 min", "2 h", "1 d",
        ];
        assert_eq!(written, expected);
    }

    #[test]
    fn a_plan_comes_back_from_json() {
        let json = serde_json::to_value(plan()).unwrap();
        assert_eq!(json["paths"], serde_json::json!(["graph_inside", "code_scan"]));
        assert_eq!(serde_json::from_value::<SearchPlan>(json).unwrap(), plan());
    }
}
