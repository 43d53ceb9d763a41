//! How fast is the index of texts, how large, and is it right? `cargo run --release -p llmspell-text --example bm25 -- [TEXTS]`
//!
//! `TEXTS` is how many texts of 50 words to make up, 1,000,000 without it, or a file with a text in each line, or a folder,
//! whose files' paragraphs are the texts. The environment may set `DUMP`, a folder to write texts and queries to, for other
//! programs, and `QUERIES`, a file with a query in each line.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use llmspell_text::{
    Analyzer, AnalyzerConfig, Bm25, Hit, Index, Kind, Positions, Query, QueryFields, Row, Search, Texts,
};

/// Rows that a merge begins with.
const TAIL_ROWS_MAX: usize = 16_384;
const WORDS: usize = 100_000;

fn main() {
    let argument = std::env::args().nth(1).unwrap_or("1000000".to_string());
    let lines = texts_of(&argument);
    let queries = queries_of(&lines);
    if let Ok(folder) = std::env::var("DUMP") {
        std::fs::write(Path::new(&folder).join("texts.txt"), lines.join("\n")).expect("the texts are written");
        std::fs::write(Path::new(&folder).join("queries.txt"), queries.join("\n")).expect("the queries are written");
    }
    let text_bytes: usize = lines.iter().map(String::len).sum();
    println!("{} texts, {text_bytes} bytes, {} queries", lines.len(), queries.len());

    let analyzer = Analyzer::new(AnalyzerConfig::default()).expect("the default is valid");
    let start = seconds();
    let rows: usize = lines
        .iter()
        .take(100_000)
        .map(|line| row_of(&analyzer, line).to_bytes().len())
        .sum();
    let analyzed = lines.len().min(100_000);
    let bytes: usize = lines.iter().take(analyzed).map(String::len).sum();
    println!(
        "analyzing: {:.0} texts/s of a processor; rows take {:.3} of the text",
        analyzed as f64 / (seconds() - start),
        rows as f64 / bytes as f64
    );
    for positions in [Positions::Kept, Positions::Dropped] {
        let start = Instant::now();
        let (texts, of_analyzing, of_merging) = load(&analyzer, &lines, positions);
        let rate = |seconds: f64| lines.len() as f64 / seconds;
        println!(
            "{positions:?} positions: loaded by two threads at {:.0} texts/s; one could analyze {:.0}/s, the other insert and merge {:.0}/s \
             of a processor; {} indexes, {} rows in the tail",
            rate(start.elapsed().as_secs_f64()),
            rate(of_analyzing),
            rate(of_merging),
            texts.indexes().count(),
            texts.tail_len(),
        );
        measure("  as loaded", &analyzer, &texts, &queries);
        let texts = merged(&texts);
        let index_bytes: usize = texts.indexes().map(Index::byte_count).sum();
        println!(
            "  one index: {index_bytes} bytes, {:.3} of the text",
            index_bytes as f64 / text_bytes as f64
        );
        measure("  one index", &analyzer, &texts, &queries);
        if positions == Positions::Kept {
            compare(&analyzer, &texts, &lines, &queries);
            let mut worn = texts.clone();
            for point in (0..lines.len() as u32).step_by(20) {
                worn.remove(point);
            }
            measure("  5 % removed", &analyzer, &worn, &queries);
        }
    }
}

fn row_of(analyzer: &Analyzer, line: &str) -> Row {
    Row::of_texts(analyzer, Positions::Kept, [(0, line)])
}

fn texts_of(argument: &str) -> Vec<String> {
    if let Ok(count) = argument.parse() {
        let mut random = Random(1);
        return (0..count)
            .map(|_| (0..50).map(|_| word(random.zipf())).collect::<Vec<_>>().join(" "))
            .collect();
    }
    let path = Path::new(argument);
    if path.is_file() {
        let text = std::fs::read_to_string(path).expect("a file of UTF-8");
        return text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(str::to_string)
            .collect();
    }
    let (mut folders, mut texts) = (vec![path.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                    let paragraphs = text
                        .split("\n\n")
                        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
                    texts.extend(paragraphs.filter(|paragraph| paragraph.len() > 40));
                }
                _ => {}
            }
        }
    }
    texts
}

/// Two to four words of a text each.
fn queries_of(lines: &[String]) -> Vec<String> {
    if let Ok(path) = std::env::var("QUERIES") {
        return std::fs::read_to_string(path)
            .expect("a file of UTF-8")
            .lines()
            .map(str::to_string)
            .collect();
    }
    let mut random = Random(2);
    let mut query = || {
        let words: Vec<_> = lines[random.below(lines.len())].split_whitespace().collect();
        let count = 2 + random.below(3);
        let words: Vec<_> = (0..count).map(|_| words[random.below(words.len())]).collect();
        let plain = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
        words.into_iter().map(plain).collect::<Vec<_>>().join(" ")
    };
    (0..2_000)
        .map(|_| query())
        .filter(|query| !query.trim().is_empty())
        .collect()
}

/// A word by its rank: syllables, shorter for more frequent words.
fn word(rank: usize) -> String {
    let (consonants, vowels) = (b"bdfgklmnprstvz", b"aeiou");
    let (mut rest, mut word) = (rank, String::new());
    loop {
        let syllable = rest % 70;
        word.push(char::from(consonants[syllable / 5]));
        word.push(char::from(vowels[syllable % 5]));
        rest /= 70;
        if rest == 0 {
            return word + if rank.is_multiple_of(3) { "n" } else { "" };
        }
    }
}

/// One thread analyzes, one inserts and merges. Says how many seconds of a processor each took.
fn load(analyzer: &Analyzer, lines: &[String], positions: Positions) -> (Texts, f64, f64) {
    let (sender, receiver) = mpsc::sync_channel(64);
    std::thread::scope(|scope| {
        let analyzing = scope.spawn(move || {
            let start = seconds();
            for (number, part) in lines.chunks(256).enumerate() {
                let row = |line: &String| Arc::new(Row::of_texts(analyzer, positions, [(0, line.as_str())]));
                let rows: Vec<_> = part.iter().map(row).collect();
                sender
                    .send((256 * number as u32, rows))
                    .expect("the other thread listens");
            }
            seconds() - start
        });
        let start = seconds();
        let mut texts = Texts::new(Kind::Texts(positions));
        for (first, rows) in receiver {
            for (point, row) in (first..).zip(rows) {
                texts.insert(point, row);
            }
            if texts.tail_len() > TAIL_ROWS_MAX
                && let Some(merge) = texts.plan_merge(TAIL_ROWS_MAX)
            {
                let index = written(&merge);
                assert!(texts.adopt(&merge, index));
            }
        }
        let of_merging = seconds() - start;
        (texts, analyzing.join().expect("it ends"), of_merging)
    })
}

fn written(merge: &llmspell_text::Merge) -> Index {
    let mut bytes = Vec::new();
    let mut output = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    merge.write(&mut output).expect("memory takes all");
    Index::open(Arc::new(bytes)).expect("what was written is whole")
}

fn merged(texts: &Texts) -> Texts {
    let mut texts = texts.clone();
    let merge = texts.plan_full_merge();
    let start = seconds();
    let index = written(&merge);
    println!("  merging all: {:.2} s of a processor", seconds() - start);
    assert!(texts.adopt(&merge, index));
    texts
}

fn search(analyzer: &Analyzer, texts: &Texts, query: &str, k: usize) -> Vec<Hit> {
    let query = Query::parse(query, analyzer, &QueryFields::default());
    texts.search(
        &query,
        &texts.statistics(&query),
        &Search::best(k).with_bm25(Bm25::default()),
    )
}

/// The times of all queries, from the text to the hits: of each the shortest of five, so that a busy machine matters less.
fn measure(what: &str, analyzer: &Analyzer, texts: &Texts, queries: &[String]) {
    let mut times = vec![f64::INFINITY; queries.len()];
    for _ in 0..5 {
        for (query, time) in queries.iter().zip(&mut times) {
            let start = Instant::now();
            std::hint::black_box(search(analyzer, texts, query, 10));
            *time = time.min(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    times.sort_by(f64::total_cmp);
    let sum: f64 = times.iter().sum();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{what}: {:.0} queries/s, p50 {:.0} µs, p99 {:.0} µs, longest {:.0} µs",
        times.len() as f64 / sum * 1e6,
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// Seconds that this thread was on a processor, where the system says so; else seconds.
fn seconds() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let start = START.get_or_init(Instant::now);
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let on_cpu = text.split(' ').next().and_then(|number| number.parse::<f64>().ok());
    on_cpu.map_or_else(|| start.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

/// Scores all texts of some queries by the formula, and compares.
fn compare(analyzer: &Analyzer, texts: &Texts, lines: &[String], queries: &[String]) {
    let queries: Vec<&String> = queries.iter().step_by(queries.len().div_ceil(50)).collect();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut asked: Vec<Vec<(usize, f64)>> = Vec::new();
    for query in &queries {
        let mut terms: Vec<(usize, f64)> = Vec::new();
        analyzer.each_token(query, |token| {
            let next = numbers.len();
            let number = *numbers.entry(token.term.to_string()).or_insert(next);
            match terms.iter_mut().find(|(there, _)| *there == number) {
                Some((_, count)) => *count += 1.0,
                None => terms.push((number, 1.0)),
            }
        });
        asked.push(terms);
    }
    let mut postings: Vec<HashMap<u32, f64>> = vec![HashMap::new(); numbers.len()];
    let mut lengths = Vec::new();
    for (point, line) in (0..).zip(lines) {
        let mut length = 0;
        analyzer.each_token(line, |token| {
            length += usize::from(token.kind.counts());
            if let Some(number) = numbers.get(token.term) {
                *postings[*number].entry(point).or_insert(0.0) += 1.0;
            }
        });
        let shift = length.max(1).ilog2().saturating_sub(4);
        lengths.push((length >> shift << shift) as f64);
    }
    let count = lengths.iter().filter(|length| **length > 0.0).count() as f64;
    let mean = lengths.iter().sum::<f64>() / count;
    for (query, terms) in queries.iter().zip(asked) {
        let mut scores: HashMap<u32, f64> = HashMap::new();
        for (number, boost) in terms {
            let df = postings[number].len() as f64;
            let idf = (1.0 + (count - df + 0.5) / (df + 0.5)).ln();
            for (point, tf) in &postings[number] {
                let norm = 1.2 * (0.25 + 0.75 * lengths[*point as usize] / mean);
                *scores.entry(*point).or_insert(0.0) += boost * idf * tf / (tf + norm);
            }
        }
        let mut best: Vec<f64> = scores.values().copied().collect();
        best.sort_by(|a, b| b.total_cmp(a));
        let hits = search(analyzer, texts, query, 10);
        assert_eq!(hits.len(), best.len().min(10), "{query}");
        for (hit, best) in hits.iter().zip(best) {
            let own = scores[&hit.point];
            let is_near = |a: f64, b: f64| (a - b).abs() < 1e-5 * b;
            assert!(
                is_near(f64::from(hit.score), own) && is_near(own, best),
                "{query}: {hit:?}, {own}, best {best}"
            );
        }
    }
    println!("  {} queries compared with scoring each text: equal", queries.len());
}

/// Numbers by a seed (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    /// A rank of [`WORDS`] by Zipf's law: its chance falls as one divided by it.
    fn zipf(&mut self) -> usize {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((WORDS as f64 + 1.0).powf(uniform) - 1.0) as usize
    }
}
