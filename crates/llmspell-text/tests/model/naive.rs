//! The scores of all texts, one by one, by the formula.

use std::collections::{BTreeMap, BTreeSet};

use llmspell_text::{Analyzer, Hit, Row, TokenKind};

/// What a query asks for: each part in one field, or in all.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) field: Option<u8>,
    pub(crate) words: Vec<String>,
    pub(crate) form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Form {
    Word,
    Prefix,
    Phrase,
    Not,
}

/// Names of fields, with their boosts.
pub(crate) const FIELDS: [(u8, &str, f32); 2] = [(0, "title", 2.0), (4, "body", 1.0)];

impl Part {
    /// As somebody would type it.
    pub(crate) fn typed(&self) -> String {
        let name = FIELDS.iter().find(|(field, ..)| Some(*field) == self.field);
        let field = name.map_or(String::new(), |(_, name, _)| format!("{name}:"));
        let words = self.words.join(" ");
        match self.form {
            Form::Word => format!("{field}{words}"),
            Form::Prefix => format!("{field}{words}*"),
            Form::Phrase => format!("{field}\"{words}\""),
            Form::Not => format!("-{field}\"{words}\""),
        }
    }
}

/// The words of one field of a text, in order, and how long it is.
type Words = Vec<String>;

/// All texts by their points.
#[derive(Debug, Clone, Default)]
pub(crate) struct Naive {
    pub(crate) texts: BTreeMap<u32, BTreeMap<u8, Words>>,
    pub(crate) keeps_positions: bool,
}

impl Naive {
    pub(crate) fn insert(&mut self, analyzer: &Analyzer, point: u32, texts: &[(u8, String)]) {
        let mut fields: BTreeMap<u8, Words> = BTreeMap::new();
        for (field, text) in texts {
            let words = fields.entry(*field).or_default();
            analyzer.each_token(text, |token| {
                assert_eq!(token.kind, TokenKind::Word, "the words of this test have no parts");
                words.push(token.term.to_string());
            });
        }
        fields.retain(|_, words| !words.is_empty());
        self.texts.remove(&point);
        if !fields.is_empty() {
            self.texts.insert(point, fields);
        }
    }

    fn count(&self, field: u8, is_it: impl Fn(&str) -> bool) -> f64 {
        let having = self.texts.values().filter(|text| {
            text.get(&field)
                .is_some_and(|words| words.iter().any(|word| is_it(word)))
        });
        having.count() as f64
    }

    fn idf(&self, field: u8, count: f64) -> f64 {
        let texts = self.texts.values().filter(|text| text.contains_key(&field)).count() as f64;
        let count = count.min(texts);
        (1.0 + (texts - count + 0.5) / (count + 0.5)).ln()
    }

    /// What a term with a weight adds to a text that has it `tf` times.
    fn term(&self, field: u8, words: &Words, weight: f64, tf: usize, all: &[Self]) -> f64 {
        let fields = || {
            all.iter()
                .flat_map(|naive| naive.texts.values())
                .filter_map(|text| text.get(&field))
        };
        let mean = fields().map(|words| rounded(words.len())).sum::<f64>() / fields().count() as f64;
        let (k1, b, tf) = (1.2, 0.75, tf as f64);
        weight * tf / (tf + k1 * (1.0 - b + b * rounded(words.len()) / mean))
    }

    /// The scores of all texts that are found, with the statistics of all of `all` together.
    pub(crate) fn scores(&self, parts: &[Part], all: &[Self]) -> Vec<Hit> {
        let mut union = Self::default();
        for (number, naive) in all.iter().enumerate() {
            let texts = naive
                .texts
                .iter()
                .map(|(point, text)| (number as u32 * 1_000_000 + point, text.clone()));
            union.texts.extend(texts);
        }
        let has_positive = parts.iter().any(|part| part.form != Form::Not);
        let mut hits = Vec::new();
        for (point, text) in &self.texts {
            let (mut score, mut is_found, mut is_out) = (0.0, false, false);
            for part in parts {
                let form = match part.form {
                    Form::Not if !has_positive => Form::Phrase,
                    form => form,
                };
                let mut is_there = false;
                for (field, _, boost) in FIELDS
                    .iter()
                    .filter(|(field, ..)| part.field.is_none_or(|of| of == *field))
                {
                    let Some(words) = text.get(field) else {
                        continue;
                    };
                    for (weight, tf) in self.matches(&union, *field, words, part, form) {
                        is_there = true;
                        score += union.term(*field, words, weight * f64::from(*boost), tf, all);
                    }
                }
                is_out |= (form == Form::Phrase && !is_there) || (form == Form::Not && is_there);
                is_found |= is_there && form != Form::Not;
            }
            if is_found && !is_out {
                hits.push(Hit {
                    point: *point,
                    score: score as f32,
                });
            }
        }
        hits.sort();
        hits
    }

    /// Weights of terms, and how often each occurs.
    fn matches(&self, union: &Self, field: u8, words: &Words, part: &Part, form: Form) -> Vec<(f64, usize)> {
        let idf_of = |word: &str| union.idf(field, union.count(field, |other| other == word));
        let occurrences = |word: &str| words.iter().filter(|other| *other == word).count();
        match form {
            Form::Word => {
                let there = part.words.iter().filter(|word| words.contains(word));
                there.map(|word| (idf_of(word), occurrences(word))).collect()
            }
            Form::Prefix => {
                let prefix = part.words[0].as_str();
                let vocabulary: BTreeSet<&String> = union
                    .texts
                    .values()
                    .filter_map(|text| text.get(&field))
                    .flatten()
                    .collect();
                let begin = || vocabulary.iter().filter(|word| word.starts_with(prefix));
                let sum = begin().map(|word| union.count(field, |other| other == **word)).sum();
                let there = begin().filter(|word| words.contains(word));
                there.map(|word| (union.idf(field, sum), occurrences(word))).collect()
            }
            Form::Phrase | Form::Not => {
                let tf = if self.keeps_positions {
                    words
                        .windows(part.words.len())
                        .filter(|window| *window == part.words)
                        .count()
                } else {
                    part.words.iter().map(|word| occurrences(word)).min().unwrap_or(0)
                };
                let weight = part.words.iter().map(|word| idf_of(word)).sum();
                Some((weight, tf)).filter(|_| tf > 0).into_iter().collect()
            }
        }
    }
}

/// A length as it counts: its five highest bits.
fn rounded(length: usize) -> f64 {
    let shift = (length.max(1).ilog2()).saturating_sub(4);
    f64::from(u32::try_from(length >> shift << shift).unwrap())
}

/// Whether hits are the best `k` of all that are found.
pub(crate) fn assert_best(hits: &[Hit], all: &[Hit], k: usize, what: &str) {
    let scores: BTreeMap<u32, f32> = all.iter().map(|hit| (hit.point, hit.score)).collect();
    assert_eq!(hits.len(), k.min(all.len()), "{what}: {hits:?} of {all:?}");
    assert!(hits.is_sorted(), "{what}: {hits:?}");
    for (hit, best) in hits.iter().zip(all) {
        let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * a.abs().max(b.abs());
        let expected = scores.get(&hit.point);
        assert!(
            expected.is_some_and(|score| near(*score, hit.score)),
            "{what}: {hit:?}, not {expected:?}"
        );
        assert!(near(hit.score, best.score), "{what}: {hit:?} where {best:?} is best");
    }
}

/// The row of texts.
pub(crate) fn row_of(analyzer: &Analyzer, positions: llmspell_text::Positions, texts: &[(u8, String)]) -> Row {
    Row::of_texts(
        analyzer,
        positions,
        texts.iter().map(|(field, text)| (*field, text.as_str())),
    )
}
