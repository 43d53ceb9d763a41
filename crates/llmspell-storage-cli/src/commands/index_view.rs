//! What does an index look like, to people?

use llmspell_storage::{IndexStats, Memory};

use crate::output::{bytes_text, grouped};

/// What is said of a scope that has no graph.
pub(crate) const SCANNED: &str = "scanned: no graph, every search is exact";

/// The figures of a graph, by name; one line where there is none.
pub(crate) fn index_rows(index: Option<&IndexStats>) -> Vec<(&'static str, String)> {
    let Some(index) = index else {
        return vec![("index", "none, scanned".into())];
    };
    vec![
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
    ]
}

/// A graph in a sentence.
pub(crate) fn index_sentence(index: Option<&IndexStats>) -> String {
    let Some(index) = index else {
        return SCANNED.into();
    };
    format!(
        "{}, {} codes: {} points ({} deleted, {} not reachable), {} links; RAM {} = codes {} + links {} + blocks {} + \
         other {}; files {}",
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
pub(crate) fn ram_bytes(index: &IndexStats) -> u64 {
    index.code_bytes + index.link_bytes + index.block_bytes + index.other_bytes
}

/// `speed`, `balanced`.
pub(crate) fn memory_name(memory: Memory) -> String {
    format!("{memory:?}").to_lowercase()
}

#[cfg(test)]
mod tests {
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
        assert_eq!(index_sentence(None), SCANNED);
    }
}
