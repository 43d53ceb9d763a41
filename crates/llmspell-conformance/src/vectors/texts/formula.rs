//! BM25 of simple texts, word by word: `k1` 1.2, `b` 0.75, without the factor `k1 + 1`.

use std::collections::BTreeMap;

/// The scores of texts of lower-case words, of at most 32 each, by their keys; those without any of the words are left out.
pub(super) fn bm25<K: Ord + Clone>(texts: &[(K, &str)], words: &[&str]) -> BTreeMap<K, f64> {
    let split = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
    let texts: Vec<(K, Vec<String>)> = texts.iter().map(|(key, text)| (key.clone(), split(text))).collect();
    let count = texts.len() as f64;
    let mean = texts.iter().map(|(_, words)| words.len()).sum::<usize>() as f64 / count;
    let mut scores = BTreeMap::new();
    for (key, text) in &texts {
        for word in words {
            let times = |text: &[String]| text.iter().filter(|other| *other == word).count() as f64;
            let having = texts.iter().filter(|(_, text)| times(text) > 0.0).count() as f64;
            let tf = times(text);
            if tf > 0.0 {
                let idf = (1.0 + (count - having + 0.5) / (having + 0.5)).ln();
                let norm = 1.2 * (0.25 + 0.75 * text.len() as f64 / mean);
                *scores.entry(key.clone()).or_insert(0.0) += idf * tf / (tf + norm);
            }
        }
    }
    scores
}
