//! Searches for words and sparse vectors: of each scope an index of words is made anew for each query.

use std::collections::BTreeMap;
use std::sync::Arc;

use llmspell_core::limits::TEXT_BYTES_MAX;
use llmspell_core::{
    AnalyzerConfig, DateFields, Fusion, Metadata, Result, ScopedStats, SparseVector, StateScope, StorageError,
    TextConfig, VectorEntry, VectorQuery, VectorResult, VectorStorage as _, fuse, recency_score,
};
use llmspell_text::{Analyzer, Bm25, Kind, Positions, Query, QueryFields, Row, Search, Statistics, Texts};

use super::vectors::{NaiveStore, State, Stored, fields, is_alive, now};
use super::word_faults::WordFault;

/// The place of a scope in the query, and an id.
type Key = (usize, String);

/// Makes sparse vectors right by leaving out what is wrong.
fn mend(vectors: &mut BTreeMap<String, SparseVector>) {
    for vector in vectors.values_mut() {
        let good = vector
            .components()
            .filter(|(_, value)| *value > 0.0 && value.is_finite());
        let good: BTreeMap<u32, f32> = good.collect();
        *vector = SparseVector::new(good.keys().copied(), good.values().copied());
    }
}

/// What words or a sparse vector find.
#[derive(Default)]
struct ByWords {
    /// Those that match the filter, best first.
    best: Vec<(Key, f32)>,
    /// The scores of all, whatever the filter.
    scores: BTreeMap<Key, f32>,
}

impl NaiveStore {
    /// A store that indexes these texts.
    pub(crate) fn of_texts(mut self, texts: Option<TextConfig>, fault: Option<WordFault>) -> Self {
        (self.texts, self.word_fault) = (texts, fault);
        self
    }

    pub(super) fn errs(&self, fault: WordFault) -> bool {
        self.word_fault == Some(fault)
    }

    /// An entry that was found.
    fn stored<'s>(&self, state: &'s State, scope: &StateScope, id: &str) -> &'s Stored {
        let is_it = |(owner, name): &(StateScope, String)| {
            name == id && (owner == scope || self.errs(WordFault::ScopesAreOneForWords))
        };
        state.entries.iter().find(|(key, _)| is_it(key)).unwrap().1
    }

    /// Makes wrong entries right, in the ways in which a store must not.
    pub(super) fn tolerated(&self, entry: &mut VectorEntry) {
        match self.word_fault {
            Some(WordFault::LongTextsAreTaken) => {
                entry.text.iter_mut().for_each(|text| text.truncate(TEXT_BYTES_MAX));
            }
            Some(WordFault::UnindexedWordsAreForgotten) if self.texts.is_none() => entry.text = None,
            Some(WordFault::AnyDimensionIsTaken) if self.dim == 0 => entry.embedding.clear(),
            Some(WordFault::UnknownSparseIsForgotten) => self.forget_unknown(&mut entry.sparse),
            Some(WordFault::BadSparseIsMended) => mend(&mut entry.sparse),
            _ => {}
        }
    }

    /// … and wrong queries.
    pub(super) fn tolerated_query(&self, query: &mut VectorQuery) -> Result<()> {
        match (&query.text, self.word_fault) {
            (Some(words), Some(WordFault::EmptyWordsAreRefused)) if words.trim().is_empty() => {
                return Err(StorageError::EmptyKey);
            }
            (Some(_), Some(WordFault::UnindexedWordsAreForgotten)) if self.texts.is_none() => query.text = None,
            (_, Some(WordFault::UnknownSparseIsForgotten)) => self.forget_unknown(&mut query.sparse),
            (_, Some(WordFault::BadSparseIsMended)) => mend(&mut query.sparse),
            _ => {}
        }
        Ok(())
    }

    fn forget_unknown(&self, vectors: &mut BTreeMap<String, SparseVector>) {
        let names = self.texts.as_ref().map_or(&[][..], TextConfig::sparse);
        vectors.retain(|name, _| names.contains(name));
    }

    pub(super) fn has_vector(&self, entry: &VectorEntry) -> bool {
        !entry.embedding.is_empty() || self.errs(WordFault::EntriesWithoutVectorAreFoundByVector)
    }

    /// The text of a new entry, which keeps it if the space does.
    pub(super) fn indexed_text(&self, entry: &mut VectorEntry, old: Option<&Stored>) -> Option<String> {
        let mut own = entry.text.take();
        let keeps = self.texts.as_ref().is_some_and(TextConfig::keep);
        if keeps != self.errs(WordFault::KeepIsTheOpposite) {
            entry.text.clone_from(&own);
        }
        if let (true, Some(old)) = (self.errs(WordFault::UpsertKeepsOldSparse), old) {
            for (name, vector) in &old.entry.sparse {
                entry.sparse.entry(name.clone()).or_insert_with(|| vector.clone());
            }
        }
        if let (true, Some(old)) = (self.errs(WordFault::UpsertKeepsOldWords), old) {
            let both = [old.own.clone(), own].into_iter().flatten();
            own = Some(both.collect::<Vec<_>>().join(" "));
        }
        own
    }

    /// New metadata is indexed, and the text stays.
    pub(super) fn updated_texts(&self, stored: &mut Stored, metadata: &Metadata) {
        let is_kept = stored.entry.text.is_some();
        if self.errs(WordFault::UnkeptTextsAreForgottenByPatches) && !is_kept {
            stored.own = None;
        }
        if self.errs(WordFault::UpdateForgetsText) {
            (stored.own, stored.entry.text) = (None, None);
        }
        if self.errs(WordFault::UpdateForgetsSparse) {
            stored.entry.sparse.clear();
        }
        if !self.errs(WordFault::UpdateIndexesNothing) {
            stored.indexed = metadata.clone();
        }
    }

    pub(super) fn count_texts(&self, visible: &[&Stored], stats: &mut ScopedStats) {
        let Some(config) = &self.texts else { return };
        let analyzer = self.analyzer(config);
        let is_found = |stored: &&&Stored| !self.row(config, &analyzer, stored).is_empty();
        stats.texts = visible.iter().filter(is_found).count() as u64;
        let kept = visible.iter().filter_map(|stored| stored.entry.text.as_ref());
        stats.text_bytes = kept.map(|text| text.len() as u64).sum();
        let sparse = visible.iter().flat_map(|stored| stored.entry.sparse.values());
        if !self.errs(WordFault::SparseIsNotCounted) {
            stats.text_bytes += sparse.map(|vector| vector.counted_bytes() as u64).sum::<u64>();
        }
        if self.errs(WordFault::PlansCountOtherTexts) && stats.texts == 30 {
            stats.texts = 100;
        }
        if self.errs(WordFault::TextsAreNotCounted) {
            (stats.texts, stats.text_bytes) = (0, 0);
        }
    }

    fn analyzer(&self, config: &TextConfig) -> Analyzer {
        let chosen = match self.word_fault {
            Some(WordFault::AnalyzerIsIgnored) => AnalyzerConfig::default(),
            Some(WordFault::IdentifiersAreWhole) => config.analyzer().clone().with_split_identifiers(false),
            _ => config.analyzer().clone(),
        };
        Analyzer::new(chosen).unwrap()
    }

    fn row(&self, config: &TextConfig, analyzer: &Analyzer, stored: &Stored) -> Row {
        let own = stored.own.as_deref();
        let mut texts: Vec<(u8, &str)> = config.texts_of(own, &stored.indexed).collect();
        if self.errs(WordFault::OnlyTheFirstStringIsIndexed) {
            texts.dedup_by_key(|(field, _)| *field);
        }
        let positions = match self.errs(WordFault::PhrasesAreWords) {
            true => Positions::Dropped,
            false => Positions::Kept,
        };
        Row::of_texts(analyzer, positions, texts)
    }

    fn parsed(&self, config: &TextConfig, analyzer: &Analyzer, words: &str) -> Query {
        let fields = match self.errs(WordFault::NamesOfFieldsAreWords) {
            true => QueryFields::new((0..=15).map(|number| (number, "", 1.0))),
            false => config.query_fields(),
        };
        match self.word_fault {
            Some(WordFault::AllAreWords) => Query::words(words, analyzer, &fields),
            Some(WordFault::NothingIsExcluded) => Query::parse(&words.replace(" -", " "), analyzer, &fields),
            Some(WordFault::NothingIsAPrefix) => Query::parse(&words.replace('*', ""), analyzer, &fields),
            _ => Query::parse(words, analyzer, &fields),
        }
    }

    pub(super) async fn search_words(&self, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        let wanted = query.k + query.offset;
        let selects = query.mmr.is_some() || query.group_by.is_some();
        let mut candidates = match self.errs(WordFault::CandidatesAreTheTopK) {
            true => wanted,
            false => query.candidates(),
        };
        loop {
            let (ranked, is_all) = self.ranked(query, candidates).await?;
            let mut found = match selects {
                true if self.errs(WordFault::DiversityOfWordsIsIgnored) && query.mmr.is_some() => ranked,
                true => self.selected(query, ranked),
                false => ranked,
            };
            let is_enough = found.len() >= wanted || is_all || query.group_by.is_none();
            if is_enough || self.errs(WordFault::LargeGroupsHideOthersOfWords) {
                let passed = if self.errs(WordFault::OffsetOfWordsIsIgnored) {
                    0
                } else {
                    query.offset
                };
                found.drain(..passed.min(found.len()));
                found.truncate(query.k);
                for result in &mut found {
                    result.metadata = result.metadata.take().filter(|_| query.include_metadata);
                    result.vector = result.vector.take().filter(|vector| {
                        query.include_vectors && (!vector.is_empty() || self.errs(WordFault::NoVectorIsEmpty))
                    });
                }
                return Ok(found);
            }
            candidates *= 4;
        }
    }

    /// The fused candidates, or those of the words alone, with vectors and metadata, and whether these are all that match.
    async fn ranked(&self, query: &VectorQuery, candidates: usize) -> Result<(Vec<VectorResult>, bool)> {
        let scopes = match &query.scopes {
            Some(_) => query.searched_scopes(),
            None => vec![&query.scope],
        };
        let by_vector = match query.vector.is_empty() {
            true => Vec::new(),
            false => self.search(&query.vector_side(candidates)).await?,
        };
        let by_vector: Vec<(Key, f32)> = by_vector
            .into_iter()
            .map(|result| {
                let place = |of: &_| scopes.iter().position(|scope| *scope == of).unwrap();
                ((result.scope.as_ref().map_or(0, place), result.id), result.score)
            })
            .collect();
        let state = self.state.lock().unwrap();
        let ByWords {
            best: mut by_words,
            scores: all_scores,
        } = match query.text {
            Some(_) => self.by_words(&state, query, &scopes)?,
            None => ByWords::default(),
        };
        let mut by_sparse = Vec::new();
        for name in query.sparse.keys() {
            by_sparse.push((name.clone(), self.by_sparse(&state, query, name, &scopes)?));
        }
        let mut is_all = by_vector.len() < candidates && by_words.len() <= candidates;
        is_all &= by_sparse.iter().all(|(_, found)| found.best.len() <= candidates);
        by_words.truncate(candidates);
        by_sparse
            .iter_mut()
            .for_each(|(_, found)| found.best.truncate(candidates));
        let (of_vectors, of_words): (BTreeMap<Key, f32>, BTreeMap<Key, f32>) =
            (by_vector.iter().cloned().collect(), by_words.iter().cloned().collect());
        let sparse_lists = || by_sparse.iter().map(|(_, found)| found.best.clone());
        let has_sparse = !by_sparse.is_empty() && !self.errs(WordFault::SparseIsNotFused);
        let fused = match (query.is_hybrid(), self.word_fault) {
            (false, _) if query.text.is_none() => sparse_lists().next().unwrap(),
            (false, _) => by_words,
            (true, _) if has_sparse => {
                let own = [
                    (!query.vector.is_empty()).then_some(by_vector),
                    query.text.as_ref().map(|_| by_words),
                ];
                let lists: Vec<_> = own.into_iter().flatten().chain(sparse_lists()).collect();
                fuse(query.fusion(), &lists).unwrap()
            }
            (true, Some(WordFault::FusionIsIgnored)) => fuse(Fusion::default(), &[by_vector, by_words]).unwrap(),
            (true, Some(WordFault::SidesAreSwapped)) => fuse(query.fusion(), &[by_words, by_vector]).unwrap(),
            (true, Some(WordFault::OnlyVectorsCount)) => by_vector,
            (true, _) => fuse(query.fusion(), &[by_vector, by_words]).unwrap(),
        };
        let mut results = Vec::new();
        for (key, score) in fused {
            let stored = self.stored(&state, scopes[key.0], &key.1);
            let mut result = VectorResult::of_words(key.1.clone(), score);
            result.scope = query.scopes.is_some().then(|| scopes[key.0].clone());
            result.text_score = all_scores.get(&key).copied();
            for (name, found) in &by_sparse {
                let of_candidates = found
                    .best
                    .iter()
                    .find(|(other, _)| *other == key)
                    .map(|(_, score)| *score);
                let score = match self.errs(WordFault::SparseScoresAreOfCandidatesOnly) {
                    true => of_candidates,
                    false => found.scores.get(&key).copied(),
                };
                result.sparse_scores.extend(score.map(|score| (name.clone(), score)));
            }
            if !query.vector.is_empty() && !stored.entry.embedding.is_empty() {
                let distance = self.distance(&stored.entry.embedding, &query.vector);
                result.vector_score = Some(self.metric.score(distance));
            }
            if self.errs(WordFault::ScoresAreOfCandidatesOnly) {
                result.text_score = of_words.get(&key).copied();
                result.vector_score = of_vectors.get(&key).copied();
            }
            let half_life = query.recency.filter(|_| !self.errs(WordFault::RecencyOfWordsIsIgnored));
            let age = stored.entry.times().age_ms(now());
            result.recency_score = half_life.map(|half_life| recency_score(score, age, half_life));
            result.metadata = Some(fields(&stored.entry));
            result.vector = Some(stored.entry.embedding.clone());
            let with_texts = query.include_texts != self.errs(WordFault::TextsComeUnasked);
            result.text = stored.entry.text.clone().filter(|_| with_texts);
            result.snippet = self.snippet(query, stored);
            results.push(result);
        }
        if query.is_hybrid() && self.errs(WordFault::ThresholdIsOfTheFusedScore) {
            results.retain(|result| query.threshold.is_none_or(|threshold| result.score >= threshold));
        }
        results.sort_by(VectorResult::rank);
        Ok((results, is_all))
    }

    /// What a sparse vector finds, in the same form.
    fn by_sparse(&self, state: &State, query: &VectorQuery, name: &str, scopes: &[&StateScope]) -> Result<ByWords> {
        let filter = query
            .whole_filter()
            .filter(|_| !self.errs(WordFault::SparseIsNotFiltered));
        let filter = filter.map(|filter| filter.compile(&DateFields::none())).transpose()?;
        let asked = &query.sparse[name];
        let mut found = ByWords::default();
        for ((owner, id), stored) in state.entries.iter().filter(|(_, stored)| is_alive(&stored.entry)) {
            let place = scopes.iter().position(|scope| *scope == owner);
            let other = self.errs(WordFault::SparseOfOtherScopesIsFound).then_some(0);
            let Some(place) = place.or(other) else { continue };
            let own = match self.errs(WordFault::SparseNamesAreOne) {
                true => stored.entry.sparse.values().next(),
                false => stored.entry.sparse.get(name),
            };
            let mut score = own.and_then(|own| own.dot(asked));
            if self.errs(WordFault::SparseScoresAreOfIndices) {
                let ones = |vector: &SparseVector| {
                    SparseVector::new(vector.indices().to_vec(), vec![1.0; vector.indices().len()])
                };
                score = own.and_then(|own| ones(own).dot(&ones(asked)));
            }
            let Some(score) = score else { continue };
            let key = (place, id.clone());
            found.scores.insert(key.clone(), score);
            let is_over = query.is_hybrid() || query.threshold.is_none_or(|threshold| score >= threshold);
            let passes = filter.as_ref().is_none_or(|filter| filter.matches_entry(&stored.entry));
            if passes && (is_over || self.errs(WordFault::SparseHasNoThreshold)) {
                found.best.push((key, score));
            }
        }
        found.best.sort_by(|(a_key, a), (b_key, b)| {
            let tie = match self.errs(WordFault::SparseTiesByIdBeforeScope) {
                true => (&a_key.1, a_key.0).cmp(&(&b_key.1, b_key.0)),
                false => a_key.cmp(b_key),
            };
            b.total_cmp(a).then(tie)
        });
        Ok(found)
    }

    /// What the words find, best first, and the scores of all that they find, whatever the filter.
    fn by_words(&self, state: &State, query: &VectorQuery, scopes: &[&StateScope]) -> Result<ByWords> {
        let config = self.texts.as_ref().unwrap();
        let analyzer = self.analyzer(config);
        let words = self.parsed(config, &analyzer, query.text.as_deref().unwrap());
        let filter = query
            .whole_filter()
            .filter(|_| !self.errs(WordFault::WordsAreNotFiltered))
            .map(|filter| filter.compile(&DateFields::none()))
            .transpose()?;
        let even_expired = self.errs(WordFault::ExpiredIsFoundByWords);
        let of_scope = |scope: &StateScope| -> Vec<&Stored> {
            let all = self.errs(WordFault::ScopesAreOneForWords);
            let of_scope = state.entries.iter().filter(|((owner, _), _)| owner == scope || all);
            let stored = of_scope.map(|(_, stored)| stored);
            stored
                .filter(|stored| even_expired || is_alive(&stored.entry))
                .collect()
        };
        let texts_of = |stored: &[&Stored]| {
            let mut texts = Texts::new(Kind::Texts(match self.errs(WordFault::PhrasesAreWords) {
                true => Positions::Dropped,
                false => Positions::Kept,
            }));
            for (point, stored) in (0..).zip(stored) {
                texts.insert(point, Arc::new(self.row(config, &analyzer, stored)));
            }
            texts
        };
        let stored: Vec<Vec<&Stored>> = scopes.iter().map(|scope| of_scope(scope)).collect();
        let texts: Vec<Texts> = stored.iter().map(|stored| texts_of(stored)).collect();
        let mut union = Statistics::default();
        texts.iter().for_each(|texts| union.add(&texts.statistics(&words)));
        if self.errs(WordFault::OthersCount) {
            union = texts_of(&state.entries.values().collect::<Vec<_>>()).statistics(&words);
        }
        if self.errs(WordFault::DeletedTextsCount) {
            union.add(&texts_of(&state.deleted.iter().collect::<Vec<_>>()).statistics(&words));
        }
        if self.errs(WordFault::FilteredTextsCountAlone)
            && let Some(filter) = &filter
        {
            let matching = stored.iter().flatten().copied();
            let matching: Vec<&Stored> = matching.filter(|stored| filter.matches_entry(&stored.entry)).collect();
            union = texts_of(&matching).statistics(&words);
        }
        let mut found = Vec::new();
        let mut all = BTreeMap::new();
        for (place, (stored, texts)) in stored.iter().zip(&texts).enumerate() {
            let own = texts.statistics(&words);
            let statistics = if self.errs(WordFault::EachScopeHasItsStatistics) {
                &own
            } else {
                &union
            };
            let mut search = Search::best(usize::MAX);
            if self.errs(WordFault::LengthDoesNotCount) {
                search = search.with_bm25(Bm25::new(1.2, 0.0).unwrap());
            }
            for hit in texts.search(&words, statistics, &search) {
                let stored = stored[hit.point as usize];
                all.insert((place, stored.entry.id.clone()), hit.score);
                if filter.as_ref().is_none_or(|filter| filter.matches_entry(&stored.entry)) {
                    found.push(((place, stored.entry.id.clone()), hit.score));
                }
            }
        }
        found.sort_by(|(a_key, a), (b_key, b)| {
            let tie = match self.errs(WordFault::TiesOfWordsByIdBeforeScope) {
                true => (&a_key.1, a_key.0).cmp(&(&b_key.1, b_key.0)),
                false => a_key.cmp(b_key),
            };
            b.total_cmp(a).then(tie)
        });
        if let (Some(threshold), false) = (query.threshold, query.is_hybrid()) {
            found.retain(|(_, score)| *score >= threshold || self.errs(WordFault::WordsHaveNoThreshold));
        }
        if self.errs(WordFault::EntriesWithoutVectorAreNotFound) {
            let is_there = |key: &Key| {
                let stored = self.stored(state, scopes[key.0], &key.1);
                !stored.entry.embedding.is_empty()
            };
            found.retain(|(key, _)| is_there(key));
        }
        Ok(ByWords {
            best: found,
            scores: all,
        })
    }

    fn snippet(&self, query: &VectorQuery, stored: &Stored) -> Option<llmspell_core::Snippet> {
        let bytes = query.snippets.filter(|_| !self.errs(WordFault::SnippetsAreIgnored))?;
        let config = self.texts.as_ref()?;
        let analyzer = self.analyzer(config);
        let words = self.parsed(config, &analyzer, query.text.as_deref()?);
        let metadata = fields(&stored.entry);
        let mut snippet = config.snippet(stored.entry.text.as_deref(), &metadata, &words, &analyzer, bytes)?;
        if self.errs(WordFault::SnippetsMarkNothing) {
            snippet.matches.clear();
        }
        if self.errs(WordFault::SnippetsAreWhole) {
            snippet.text = stored.entry.text.clone()?;
        }
        Some(snippet)
    }
}
