//! Measures filtered searches: cost, recall and path.
//!
//! `cargo run --release -p llmspell-bench --features measure --example filter_figures -- BASE.f32 QUERIES.f32 DIM [QUERIES]`
//!
//! The files are plain little-endian rows of `DIM` floats. For each share of entries that match: by chance, by two
//! conditions at once, and only entries far from the query. Microseconds of finding (walk or scan, and exact distances),
//! without the evaluation of the filter and without the metadata of the results.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use llmspell_storage::{DatabaseOptions, Filter, HNSWConfig, HNSWVectorStorage, Memory, VectorEntry, VectorQuery};
use llmspell_vector::{ExactDistance, Metric};
use serde_json::json;

const K: usize = 10;
/// Values of the fields by chance.
const SIDES: usize = 1_000_000;
const SHARES: [f64; 8] = [0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001];

struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize * bound) >> 31
    }
}

fn rows(path: &str, dim: usize) -> anyhow::Result<Vec<Vec<f32>>> {
    let bytes = std::fs::read(path).with_context(|| format!("read {path}"))?;
    let floats: Vec<f32> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| f32::from_le_bytes(*word))
        .collect();
    Ok(floats.chunks_exact(dim).map(<[f32]>::to_vec).collect())
}

/// Recall and times of one kind of filter.
#[derive(Default)]
struct Tally {
    hits: usize,
    wanted: usize,
    micros: Vec<f64>,
    paths: BTreeMap<String, usize>,
}

impl Tally {
    fn print(mut self, name: &str) {
        self.micros.sort_unstable_by(f64::total_cmp);
        let count = self.micros.len();
        println!(
            "{name:<28} recall {:.4}  p50 {:7.1}  p99 {:7.1} µs  {:?}",
            self.hits as f64 / self.wanted.max(1) as f64,
            self.micros[count / 2],
            self.micros[(count * 99).div_ceil(100) - 1],
            self.paths,
        );
    }
}

struct Data {
    base: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
    /// Of each entry, by two fields.
    dice: Vec<[usize; 2]>,
    /// Of each query, how far each entry is.
    distances: Vec<Vec<f32>>,
}

impl Data {
    /// Of each query, the place of each entry in the order of distances.
    fn ranks(&self) -> Vec<Vec<usize>> {
        let rank = |distances: &Vec<f32>| {
            let mut order: Vec<usize> = (0..distances.len()).collect();
            order.sort_unstable_by(|a, b| distances[*a].total_cmp(&distances[*b]));
            let mut ranks = vec![0; order.len()];
            order
                .into_iter()
                .enumerate()
                .for_each(|(rank, entry)| ranks[entry] = rank);
            ranks
        };
        self.distances.iter().map(rank).collect()
    }
}

async fn measure(
    vectors: &HNSWVectorStorage,
    data: &Data,
    name: &str,
    filter: impl Fn(usize) -> Option<Filter>,
    matches: impl Fn(usize, usize) -> bool,
) -> anyhow::Result<()> {
    let mut tally = Tally::default();
    for (number, query) in data.queries.iter().enumerate() {
        let mut asked = VectorQuery::new(query.clone(), K);
        asked.filter = filter(number);
        let found = vectors.search(&asked).await?;
        let plan = vectors.explain(&asked).await?;
        let distances = &data.distances[number];
        let mut nearest: Vec<f32> = (0..data.base.len())
            .filter(|entry| matches(number, *entry))
            .map(|entry| distances[entry])
            .collect();
        nearest.sort_unstable_by(f32::total_cmp);
        nearest.truncate(K);
        ensure!(
            found.len() == nearest.len(),
            "{name}: {} of {}",
            found.len(),
            nearest.len()
        );
        let farthest = nearest.last().copied().unwrap_or_default();
        tally.hits += found.iter().filter(|hit| hit.distance <= farthest).count();
        tally.wanted += nearest.len();
        let search = plan.stages.iter().filter(|stage| stage.name == "search");
        tally.micros.push(search.map(|stage| stage.micros).sum());
        let path: Vec<String> = plan.paths.iter().map(|path| format!("{path:?}")).collect();
        *tally.paths.entry(path.join(" > ")).or_default() += 1;
    }
    tally.print(name);
    Ok(())
}

async fn run(data: &Data, memory: Memory) -> anyhow::Result<()> {
    let dir = std::env::temp_dir().join(format!("llmspell-filters-{}-{memory:?}", std::process::id()));
    let database = DatabaseOptions::new().open(&dir).await?;
    let dim = data.base[0].len();
    let config = HNSWConfig::balanced().with_memory(memory);
    let vectors = database.vectors("s", dim, config).await?;
    let ranks = data.ranks();
    let far_queries = ranks.len().min(20);
    let mut entries = Vec::new();
    for (number, vector) in data.base.iter().enumerate() {
        let [one, two] = data.dice[number];
        let mut fields = json!({ "one": one, "two": two });
        for (query, ranks) in ranks.iter().take(far_queries).enumerate() {
            fields[format!("rank{query}")] = json!(ranks[number]);
        }
        entries.push(VectorEntry::new(number.to_string(), vector.clone()).with_metadata(fields));
        if entries.len() == 2_000 {
            vectors.insert(std::mem::take(&mut entries)).await?;
        }
    }
    vectors.insert(entries).await?;
    vectors.build_index().await?;

    println!("{memory:?}");
    for _ in 0..2 {
        measure(&vectors, data, "no filter", |_| None, |_, _| true).await?;
    }
    let bound = |share: f64| (share * SIDES as f64) as usize;
    for share in SHARES {
        let one = bound(share);
        let filter = |_| Some(Filter::lt("one", one as u64));
        let matches = |_, entry: usize| data.dice[entry][0] < one;
        measure(&vectors, data, &format!("random {} %", 100.0 * share), filter, matches).await?;
    }
    for share in SHARES {
        let side = bound(share.sqrt());
        let filter = |_| Some(Filter::lt("one", side as u64).and(Filter::lt("two", side as u64)));
        let matches = |_, entry: usize| data.dice[entry].iter().all(|dice| *dice < side);
        measure(
            &vectors,
            data,
            &format!("two fields, {} %", 100.0 * share),
            filter,
            matches,
        )
        .await?;
    }
    for share in SHARES {
        let first = data.base.len() - (share * data.base.len() as f64) as usize;
        let filter = |query: usize| Some(Filter::ge(format!("rank{}", query % far_queries), first as u64));
        let matches = |query: usize, entry: usize| ranks[query % far_queries][entry] >= first;
        measure(
            &vectors,
            data,
            &format!("far away, {} %", 100.0 * share),
            filter,
            matches,
        )
        .await?;
    }
    drop(vectors);
    database.close().await?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, queries, dim, rest @ ..] = &arguments[..] else {
        anyhow::bail!("BASE.f32 QUERIES.f32 DIM [QUERIES]");
    };
    let dim = dim.parse()?;
    let count = rest.first().map_or(Ok(40), |text| text.parse())?;
    let mut noise = Noise(11);
    let base = rows(base, dim)?;
    let queries: Vec<Vec<f32>> = rows(queries, dim)?.into_iter().take(count).collect();
    let distances = queries.iter().map(|query| {
        let exact = ExactDistance::new(Metric::Cosine, query);
        base.iter().map(|row| exact.distance(row)).collect()
    });
    let data = Data {
        dice: base.iter().map(|_| [noise.below(SIDES), noise.below(SIDES)]).collect(),
        distances: distances.collect(),
        base,
        queries,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        run(&data, Memory::Balanced).await?;
        run(&data, Memory::Speed).await
    })
}
