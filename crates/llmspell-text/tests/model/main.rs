//! Does a search find what scoring each text by the formula finds, whatever happened before?

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for code")]

mod naive;

use std::sync::Arc;

use llmspell_testkit::Random;
use llmspell_text::{
    Analyzer, AnalyzerConfig, Bm25, Hit, Index, Kind, Merge, Positions, Query, QueryFields, Row, Search, Statistics,
    Texts,
};
use naive::{FIELDS, Form, Naive, Part, assert_best, row_of};
use proptest::prelude::*;
use roaring::RoaringBitmap;

fn analyzer() -> Analyzer {
    Analyzer::new(AnalyzerConfig::default()).unwrap()
}

fn written(merge: &Merge) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = merge.write(&mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    assert_eq!(count.unwrap(), bytes.len() as u64);
    bytes
}

fn opened(merge: &Merge) -> Index {
    Index::open(Arc::new(written(merge))).unwrap()
}

fn search(texts: &Texts, query: &Query, k: usize) -> Vec<Hit> {
    texts.search(query, &texts.statistics(query), &Search::best(k))
}

#[derive(Debug, Clone)]
enum Step {
    Insert {
        point: u32,
        texts: Vec<(u8, String)>,
    },
    Remove {
        point: u32,
    },
    /// Plans a merge, does what the next steps say, and adopts what was written.
    Merge {
        tail_rows_max: usize,
        until: usize,
    },
    MergeAll,
    /// Reads the largest index back; rows that are in none are inserted again, as an engine does.
    Reload,
}

const WORDS: [&str; 12] = ["a", "ab", "abc", "b", "ba", "bac", "c", "ca", "cab", "d", "the", "of"];

fn words(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<String>> {
    // Smaller places are drawn more often.
    let word = (0..WORDS.len() * WORDS.len())
        .prop_map(|place| WORDS[place / WORDS.len() * place / (WORDS.len() * WORDS.len())].to_string());
    prop::collection::vec(word, count)
}

fn step() -> impl Strategy<Value = Step> {
    let text = || {
        (
            prop_oneof![Just(0u8), Just(4)],
            words(0..12).prop_map(|words| words.join(" ")),
        )
    };
    prop_oneof![
        12 => (0..60u32, prop::collection::vec(text(), 0..3)).prop_map(|(point, texts)| Step::Insert { point, texts }),
        3 => (0..60u32).prop_map(|point| Step::Remove { point }),
        2 => (0..12usize, 0..4usize).prop_map(|(tail_rows_max, until)| Step::Merge { tail_rows_max, until }),
        1 => Just(Step::MergeAll),
        1 => Just(Step::Reload),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    let field = || prop_oneof![2 => Just(None), 1 => Just(Some(0u8)), 1 => Just(Some(4))];
    let of = |form: Form, count| (field(), words(count)).prop_map(move |(field, words)| Part { field, words, form });
    prop_oneof![
        6 => of(Form::Word, 1..2),
        1 => of(Form::Prefix, 1..2),
        2 => of(Form::Phrase, 1..4),
        1 => of(Form::Not, 1..3),
    ]
}

/// Texts, and what they should be.
struct Both {
    analyzer: Analyzer,
    positions: Positions,
    texts: Texts,
    naive: Naive,
}

impl Both {
    fn new(positions: Positions) -> Self {
        Self {
            analyzer: analyzer(),
            positions,
            texts: Texts::new(Kind::Texts(positions)),
            naive: Naive {
                keeps_positions: positions == Positions::Kept,
                ..Naive::default()
            },
        }
    }

    fn insert(&mut self, point: u32, texts: &[(u8, String)]) {
        self.texts
            .insert(point, Arc::new(row_of(&self.analyzer, self.positions, texts)));
        self.naive.insert(&self.analyzer, point, texts);
    }

    fn run(&mut self, steps: &[Step]) {
        let mut waiting: Option<(Merge, usize)> = None;
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Insert { point, texts } => self.insert(*point, texts),
                Step::Remove { point } => {
                    assert_eq!(self.texts.remove(*point), self.naive.texts.remove(point).is_some());
                }
                Step::Merge { tail_rows_max, until } if waiting.is_none() => {
                    waiting = self
                        .texts
                        .plan_merge(*tail_rows_max)
                        .map(|merge| (merge, number + until));
                }
                Step::Merge { .. } => {}
                Step::MergeAll => {
                    let merge = self.texts.plan_full_merge();
                    assert!(self.texts.adopt(&merge, opened(&merge)));
                    assert!(self.texts.indexes().count() <= 1 && self.texts.tail_len() == 0);
                }
                Step::Reload => self.reload(),
            }
            if let Some((merge, until)) = &waiting
                && *until <= number
            {
                let before = search_all(&self.texts);
                let is_current = merge
                    .indexes()
                    .all(|old| self.texts.indexes().any(|now| now.points() == old.points()));
                let adopted = self.texts.adopt(merge, opened(merge));
                assert!(adopted || !is_current || self.texts.indexes().count() < 2);
                assert_eq!(search_all(&self.texts), before, "a merge changes no answer");
                waiting = None;
            }
        }
        for point in 0..60 {
            assert_eq!(self.texts.has(point), self.naive.texts.contains_key(&point));
        }
    }

    fn reload(&mut self) {
        let merge = self.texts.plan_full_merge();
        let mut texts = Texts::new(Kind::Texts(self.positions));
        let bytes = written(&merge);
        // Some have changed since it was written.
        let changed: RoaringBitmap = self
            .naive
            .texts
            .keys()
            .copied()
            .filter(|point| point % 5 == 0)
            .collect();
        texts.add_index(Index::open(Arc::new(bytes)).unwrap(), &changed);
        for point in &changed {
            let fields = &self.naive.texts[&point];
            let of_fields: Vec<_> = fields.iter().map(|(field, words)| (*field, words.join(" "))).collect();
            texts.insert(point, Arc::new(row_of(&self.analyzer, self.positions, &of_fields)));
        }
        assert_eq!(search_all(&texts), search_all(&self.texts));
        self.texts = texts;
    }
}

/// The answers to some queries.
fn search_all(texts: &Texts) -> Vec<Vec<Hit>> {
    let fields = QueryFields::new(FIELDS);
    let queries = ["a the", "\"a a\" b", "title:ab* c -d", "of"];
    queries
        .map(|query| search(texts, &Query::parse(query, &analyzer(), &fields), 100))
        .to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_search_finds_what_scoring_each_text_finds(
        steps in prop::collection::vec(step(), 1..80),
        parts in prop::collection::vec(prop::collection::vec(part(), 1..5), 1..6),
        k in 0..8usize,
        among in prop::option::of(prop::collection::btree_set(0..60u32, 0..40)),
        keeps in any::<bool>(),
    ) {
        let mut both = Both::new(if keeps { Positions::Kept } else { Positions::Dropped });
        both.run(&steps);
        for parts in parts {
            let typed = parts.iter().map(Part::typed).collect::<Vec<_>>().join(" ");
            let query = Query::parse(&typed, &both.analyzer, &QueryFields::new(FIELDS));
            let mut all = both.naive.scores(&parts, std::slice::from_ref(&both.naive));
            let statistics = both.texts.statistics(&query);
            let points: RoaringBitmap = all.iter().map(|hit| hit.point).chain([3, 4]).collect();
            let mut by_point = both.texts.scores(&query, &statistics, Bm25::default(), &points);
            by_point.sort();
            assert_best(&by_point, &all, usize::MAX, &typed);

            let mut asked = Search::best(k);
            let among: Option<RoaringBitmap> = among.as_ref().map(|points| points.iter().copied().collect());
            if let Some(among) = &among {
                asked = asked.among(among);
                all.retain(|hit| among.contains(hit.point));
            }
            let is_even = |point: u32| point.is_multiple_of(2);
            if k % 3 == 0 {
                asked = asked.accepting(&is_even);
                all.retain(|hit| is_even(hit.point));
            }
            assert_best(&both.texts.search(&query, &statistics, &asked), &all, k, &typed);
        }
    }

    /// Scopes that are searched together have scores that can be compared.
    #[test]
    fn several_scopes_share_their_statistics(
        steps in prop::collection::vec(prop::collection::vec(step(), 1..30), 2..4),
        parts in prop::collection::vec(part(), 1..4),
    ) {
        let mut scopes = Vec::new();
        for steps in steps {
            let mut both = Both::new(Positions::Kept);
            both.run(&steps);
            scopes.push(both);
        }
        let typed = parts.iter().map(Part::typed).collect::<Vec<_>>().join(" ");
        let query = Query::parse(&typed, &analyzer(), &QueryFields::new(FIELDS));
        let mut statistics = Statistics::default();
        scopes.iter().for_each(|scope| statistics.add(&scope.texts.statistics(&query)));
        let all: Vec<Naive> = scopes.iter().map(|scope| scope.naive.clone()).collect();
        for scope in &scopes {
            let hits = scope.texts.search(&query, &statistics, &Search::best(5));
            assert_best(&hits, &scope.naive.scores(&parts, &all), 5, &typed);
        }
    }
}

/// Words by a distribution in which few are in most texts.
fn zipf(random: &mut Random, words: u64) -> u64 {
    let uniform = (random.number() >> 11) as f64 / (1_u64 << 53) as f64;
    ((words as f64).powf(uniform) - 1.0) as u64
}

/// Long lists, with blocks that are skipped: the index must answer bit by bit as rows do that are scored one by one.
#[test]
fn large_indexes_answer_as_rows_do() {
    let (analyzer, mut random) = (analyzer(), Random::new(&[1]));
    let mut rows = Texts::new(Kind::Texts(Positions::Kept));
    let mut indexed = rows.clone();
    for part in 0..3_u32 {
        for number in 0..1_500 {
            let point = 3 * number + part;
            let count = random.between(1, 40);
            let text: Vec<_> = (0..count).map(|_| format!("w{}x", zipf(&mut random, 400))).collect();
            let row = Arc::new(row_of(&analyzer, Positions::Kept, &[(0, text.join(" "))]));
            rows.insert(point, Arc::clone(&row));
            indexed.insert(point, row);
        }
        // Parts of different sizes.
        if part < 2 {
            let merge = indexed.plan_merge(0).unwrap();
            assert!(indexed.adopt(&merge, opened(&merge)));
        }
    }
    let compare = |rows: &Texts, indexed: &Texts, random: &mut Random| {
        for number in 0..30 {
            let count = random.between(1, 6);
            let mut words: Vec<_> = (0..count).map(|_| format!("w{}x", zipf(random, 400))).collect();
            match number % 5 {
                0 => words[0] = format!("\"{} w0x\"", words[0]),
                1 => words.push("-w7x".to_string()),
                2 => words.push("w29*".to_string()),
                _ => {}
            }
            let query = Query::parse(&words.join(" "), &analyzer, &QueryFields::default());
            let statistics = rows.statistics(&query);
            assert_eq!(indexed.statistics(&query), statistics, "{words:?}");
            let share = random.between(1, 100);
            let among: RoaringBitmap = (0..4_500).filter(|point| point % 100 < share as u32).collect();
            let k = random.between(1, 40);
            for asked in [Search::best(k), Search::best(k).among(&among)] {
                let expected = rows.search(&query, &statistics, &asked);
                assert_eq!(indexed.search(&query, &statistics, &asked), expected, "{words:?}");
            }
        }
    };
    compare(&rows, &indexed, &mut random);
    for _ in 0..1_000 {
        let point = random.u32() % 4_500;
        assert_eq!(rows.remove(point), indexed.remove(point));
    }
    compare(&rows, &indexed, &mut random);
    while let Some(merge) = indexed.plan_merge(100) {
        assert!(indexed.adopt(&merge, opened(&merge)));
    }
    compare(&rows, &indexed, &mut random);
}

#[test]
fn sparse_vectors_are_ranked_by_their_product() {
    let mut random = Random::new(&[2]);
    let mut vector = |count: usize| {
        let mut components: Vec<(u32, f32)> = Vec::new();
        for _ in 0..count {
            let index = zipf(&mut random, 500) as u32 * 7_919;
            if components.iter().all(|(there, _)| *there != index) {
                components.push((index, (random.component() + 1.01) * 2.0));
            }
        }
        components
    };
    let vectors: Vec<_> = (0..5_000).map(|_| vector(20)).collect();
    let mut texts = Texts::new(Kind::SparseVectors);
    for (point, vector) in (0..).zip(&vectors) {
        texts.insert(point, Arc::new(Row::of_sparse(vector.iter().copied()).unwrap()));
        if point == 4_000 {
            let merge = texts.plan_full_merge();
            assert!(texts.adopt(&merge, opened(&merge)));
        }
    }
    assert!(texts.remove(17));
    for _ in 0..100 {
        let asked = vector(8);
        let query = Query::of_sparse(asked.iter().copied()).unwrap();
        let product = |vector: &Vec<(u32, f32)>| {
            let of = |(index, weight): &(u32, f32)| {
                vector
                    .iter()
                    .find(|(there, _)| there == index)
                    .map(|(_, other)| weight * other)
            };
            let products: Vec<f32> = asked.iter().filter_map(of).collect();
            (!products.is_empty()).then(|| products.iter().map(|product| f64::from(*product)).sum::<f64>() as f32)
        };
        let scored = (0..).zip(&vectors).filter(|(point, _)| *point != 17);
        let mut all: Vec<Hit> = scored
            .filter_map(|(point, vector)| product(vector).map(|score| Hit { point, score }))
            .collect();
        all.sort();
        all.truncate(10);
        assert_eq!(search(&texts, &query, 10), all);
    }
}

#[test]
fn an_index_of_another_moment_is_refused() {
    let mut both = Both::new(Positions::Kept);
    both.insert(1, &[(0, "a b".to_string())]);
    let first = both.texts.plan_full_merge();
    assert!(both.texts.adopt(&first, opened(&first)));
    both.insert(2, &[(0, "c".to_string())]);
    let (one, other) = (both.texts.plan_full_merge(), both.texts.plan_full_merge());
    assert!(both.texts.adopt(&one, opened(&one)));
    assert!(!both.texts.adopt(&other, opened(&other)));
    assert_eq!(both.texts.indexes().count(), 1);
}
