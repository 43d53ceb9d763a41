//! The state of an index, as text for people.

use llmspell_storage::{EfChoice, EfSource, IndexStats, Memory};

use crate::output::{bytes_text, grouped};

/// What is said of a scope that has no graph.
pub const SCANNED: &str = "scanned: no graph, every search is exact";

/// The figures of a graph, by name; one line where there is none.
pub fn index_rows(index: Option<&IndexStats>) -> Vec<(&'static str, String)> {
    let Some(index) = index else {
        return vec![("index", "none, scanned".into())];
    };
    let mut rows = vec![
        ("index points", grouped(index.points)),
        ("  deleted, still linked", grouped(index.tombstones)),
        ("  not reachable", grouped(index.unreachable)),
        ("  links", grouped(index.links)),
        ("  kept in RAM", memory_name(index.memory)),
        ("  codes", index.code.clone()),
        ("  code bytes", bytes_text(index.code_bytes)),
        ("  link bytes", bytes_text(index.link_bytes)),
        ("  block bytes", bytes_text(index.block_bytes)),
        ("  other bytes", bytes_text(index.other_bytes)),
        ("  file bytes", bytes_text(index.file_bytes)),
    ];
    rows.extend(index.ef.as_ref().map(ef_rows).into_iter().flatten());
    rows
}

/// How wide the beam of searches is, and why.
fn ef_rows(choice: &EfChoice) -> [(&'static str, String); 3] {
    let target = match choice.source {
        EfSource::Config => "none, the configuration names an ef_search".into(),
        _ => choice.target.to_string(),
    };
    let measured = match &choice.measured {
        None if choice.source == EfSource::Config => "never".into(),
        None => "not yet".into(),
        Some(measured) if measured.is_capped => format!("{measured}: below the target"),
        Some(measured) => measured.to_string(),
    };
    let is_capped = choice.measured.is_some_and(|measured| measured.is_capped);
    let in_use = match is_capped {
        true => format!("{}, the widest that is chosen", choice.ef),
        false => choice.ef.to_string(),
    };
    [
        ("  recall@10 target", target),
        ("  recall@10", measured),
        ("  ef_search in use", in_use),
    ]
}

/// A graph in a sentence.
pub fn index_sentence(index: Option<&IndexStats>) -> String {
    let Some(index) = index else {
        return SCANNED.into();
    };
    let ef = index
        .ef
        .map_or_else(String::new, |choice| format!("; ef_search {choice}"));
    format!(
        "{}, {} codes: {} points ({} deleted, {} not reachable), {} links; RAM {} = codes {} + links {} + blocks {} + \
         other {}; files {}{ef}",
        memory_name(index.memory),
        index.code,
        grouped(index.points),
        grouped(index.tombstones),
        grouped(index.unreachable),
        grouped(index.links),
        bytes_text(ram_bytes(index)),
        bytes_text(index.code_bytes),
        bytes_text(index.link_bytes),
        bytes_text(index.block_bytes),
        bytes_text(index.other_bytes),
        bytes_text(index.file_bytes)
    )
}

/// Bytes of RAM of everything that a graph has.
#[must_use]
pub fn ram_bytes(index: &IndexStats) -> u64 {
    index.code_bytes + index.link_bytes + index.block_bytes + index.other_bytes
}

/// `speed`, `balanced`, `lean`.
#[must_use]
pub fn memory_name(memory: Memory) -> String {
    format!("{memory:?}").to_lowercase()
}

#[cfg(test)]
mod tests {
    use llmspell_storage::{MeasuredRecall, MeasuredWith};

    use super::*;

    #[test]
    fn a_graph_is_told_with_all_its_bytes() {
        let mut index = IndexStats::default();
        index.memory = Memory::Speed;
        index.code = "1-bit".into();
        (index.points, index.tombstones, index.unreachable, index.links) = (1000, 7, 3, 32_000);
        (index.code_bytes, index.link_bytes, index.block_bytes, index.other_bytes) = (1000, 2000, 4000, 8000);
        let sentence = index_sentence(Some(&index));
        for part in [
            "speed, 1-bit codes: 1,000 points",
            "7 deleted",
            "3 not reachable",
            "RAM 15.0 kB",
        ] {
            assert!(sentence.contains(part), "no `{part}` in {sentence}");
        }
        assert_eq!(index_rows(Some(&index)).len(), 11);
        assert!(!sentence.contains("ef_search"));
        assert_eq!(index_sentence(None), SCANNED);
    }

    #[test]
    fn a_graph_is_told_with_its_recall_and_whether_the_target_is_missed() {
        let mut index = IndexStats::default();
        let mut told = |choice: EfChoice| {
            index.ef = Some(choice);
            let rows = index_rows(Some(&index));
            let texts: Vec<String> = rows[11..].iter().map(|(_, text)| text.clone()).collect();
            (texts, index_sentence(Some(&index)))
        };
        let measured = MeasuredRecall::new(4_096, 0.9, (256, MeasuredWith::Queries));
        let (rows, sentence) = told(EfChoice::new(4_096, EfSource::Measured, 0.98, Some(measured)));
        assert_eq!(rows, ["0.98", "measured 0.9000 with 256 queries", "4096"]);
        assert!(sentence.ends_with("; ef_search 4096, chosen for recall@10 0.98: measured 0.9000 with 256 queries"));
        let (rows, _) = told(EfChoice::new(
            4_096,
            EfSource::Measured,
            0.98,
            Some(measured.capped(true)),
        ));
        assert!(rows[1].ends_with("below the target") && rows[2] == "4096, the widest that is chosen");
        let (rows, _) = told(EfChoice::new(100, EfSource::Preset, 0.98, None));
        assert_eq!(rows, ["0.98", "not yet", "100"]);
        let (rows, _) = told(EfChoice::new(33, EfSource::Config, 0.98, None));
        assert_eq!(rows, ["none, the configuration names an ef_search", "never", "33"]);
    }
}
