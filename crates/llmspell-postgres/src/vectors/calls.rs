//! The calls of [`VectorStorage`].

use std::time::Instant;

use async_trait::async_trait;
use llmspell_core::limits::PAGE_MAX;
use llmspell_core::{
    Expiry, Filter, ListPage, ListQuery, Metadata, OnExisting, Result, ScopeKind, ScopedStats, SearchPlan, SearchStage,
    StateScope, StorageStats, VectorEntry, VectorQuery, VectorResult, VectorStorage, validate_vectors as validate,
};

use super::filter::SqlFilter;
use super::read::{Begin, LISTING_PARAMS, Listing};
use super::search::Trace;
use super::space::PostgresVectors;

llmspell_core::inherent_vectors!(PostgresVectors);

impl PostgresVectors {
    fn check_query(&self, query: &VectorQuery) -> Result<()> {
        if let Some(model) = &query.model {
            return Err(self.space.no_model(model));
        }
        validate::query(query, self.space.dim, self.space.metric, None)?;
        if let Some(filter) = query.whole_filter() {
            filter.validate_with(self.dates())?;
        }
        Ok(())
    }

    fn by_id(filter: SqlFilter, after: Option<&str>) -> Listing<'_> {
        Listing {
            filter,
            time: None,
            is_descending: false,
            begin: after.map(Begin::after),
        }
    }
}

#[async_trait]
impl VectorStorage for PostgresVectors {
    async fn write(&self, entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
        let batch = self.space.batch(entries)?;
        self.store(batch, on_existing, None).await
    }

    async fn search(&self, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        self.check_query(query)?;
        self.answer(query, &mut Trace::default()).await
    }

    async fn get(&self, scope: &StateScope, id: &str) -> Result<Option<VectorEntry>> {
        scope.validate()?;
        validate::id(id)?;
        self.one(scope, id).await
    }

    async fn get_many(&self, scope: &StateScope, ids: &[String]) -> Result<Vec<Option<VectorEntry>>> {
        scope.validate()?;
        validate::ids(ids)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.several(scope, ids).await
    }

    async fn update_metadata(&self, scope: &StateScope, id: &str, metadata: Metadata) -> Result<()> {
        scope.validate()?;
        validate::id(id)?;
        self.replace_metadata(scope, id, &metadata).await
    }

    async fn patch_metadata(&self, scope: &StateScope, id: &str, patch: Metadata) -> Result<()> {
        scope.validate()?;
        validate::id(id)?;
        self.merge_metadata(scope, id, &patch).await
    }

    async fn touch(&self, scope: &StateScope, ids: &[String], expiry: Expiry) -> Result<Vec<String>> {
        scope.validate()?;
        validate::ids(ids)?;
        expiry.validate()?;
        self.set_expiry(scope, ids, expiry).await
    }

    async fn delete(&self, scope: &StateScope, ids: &[String]) -> Result<u64> {
        scope.validate()?;
        validate::ids(ids)?;
        match ids.is_empty() {
            true => Ok(0),
            false => self.remove(scope, ids).await,
        }
    }

    async fn delete_scopes(&self, scopes: &[StateScope]) -> Result<u64> {
        validate::scopes(scopes)?;
        match scopes.is_empty() {
            true => Ok(0),
            false => self.remove_scopes(scopes).await,
        }
    }

    async fn delete_scopes_of_kind(&self, kind: ScopeKind) -> Result<u64> {
        self.remove_kind(kind).await
    }

    async fn list(&self, scope: &StateScope, after: Option<&str>, limit: usize) -> Result<Vec<VectorEntry>> {
        scope.validate()?;
        validate_page(limit)?;
        self.listed(scope, &Self::by_id(SqlFilter::all(), after), limit).await
    }

    async fn list_matching(
        &self,
        scope: &StateScope,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<VectorEntry>> {
        scope.validate()?;
        let filter = self.sql_filter(Some(filter), LISTING_PARAMS)?;
        validate_page(limit)?;
        self.listed(scope, &Self::by_id(filter, after), limit).await
    }

    async fn list_page(&self, query: &ListQuery) -> Result<ListPage> {
        validate::list_query(query)?;
        self.page_of(query).await
    }

    async fn count_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        scope.validate()?;
        let sql = self.sql_filter(Some(filter), LISTING_PARAMS)?;
        if sql.rest.is_none() {
            return self.counted(scope, &sql).await;
        }
        let mut count = 0;
        let mut after: Option<String> = None;
        loop {
            let page = self.list_matching(scope, filter, after.as_deref(), PAGE_MAX).await?;
            count += page.len() as u64;
            match page.last() {
                Some(last) if page.len() == PAGE_MAX => after = Some(last.id.clone()),
                _ => return Ok(count),
            }
        }
    }

    async fn delete_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        scope.validate()?;
        let sql = self.sql_filter(Some(filter), LISTING_PARAMS)?;
        if sql.rest.is_none() {
            return self.remove_matching(scope, &sql).await;
        }
        let mut count = 0;
        let mut after: Option<String> = None;
        loop {
            let page = self.list_matching(scope, filter, after.as_deref(), PAGE_MAX).await?;
            let ids: Vec<String> = page.into_iter().map(|entry| entry.id).collect();
            count += self.delete(scope, &ids).await?;
            if ids.len() < PAGE_MAX {
                return Ok(count);
            }
            after = ids.last().cloned();
        }
    }

    async fn scopes(&self) -> Result<Vec<StateScope>> {
        self.all_scopes().await
    }

    async fn stats(&self) -> Result<StorageStats> {
        self.whole_stats().await
    }

    async fn stats_for_scope(&self, scope: &StateScope) -> Result<ScopedStats> {
        scope.validate()?;
        self.scope_stats(scope).await
    }

    async fn count(&self, scope: &StateScope) -> Result<u64> {
        scope.validate()?;
        self.counted(scope, &SqlFilter::all()).await
    }

    async fn flush(&self) -> Result<()> {
        self.inner.now().await.map(drop)
    }

    async fn build_index(&self) -> Result<()> {
        self.build_indexes(false).await
    }

    async fn optimize_index(&self) -> Result<()> {
        self.build_indexes(true).await
    }

    async fn explain(&self, query: &VectorQuery) -> Result<SearchPlan> {
        self.check_query(query)?;
        let scope = validate::explained_scope(query)?;
        let start = Instant::now();
        let mut trace = Trace::default();
        let results = self.answer(query, &mut trace).await?.len();
        let micros = start.elapsed().as_secs_f64() * 1e6;
        let live = self.count(scope).await?;
        let matching = match query.whole_filter() {
            None => live,
            Some(filter) => self.count_matching(scope, &filter).await?,
        };
        let mut plan = SearchPlan::default();
        (plan.live, plan.matching) = (live, matching);
        (plan.k, plan.results) = (query.k, results);
        let has_index = self.index_of(&scope.to_bytes()).await?.is_some();
        plan.tail = if has_index { 0 } else { matching };
        plan.ef = trace.ef;
        plan.distances = match trace.paths.last() {
            // The server compared them all, and we those of the shortlist.
            Some(llmspell_core::SearchPath::Exact) => matching,
            _ => trace.distances,
        };
        plan.rescored = if has_index { trace.distances } else { 0 };
        plan.paths = trace.paths;
        plan.recency = trace.recency;
        plan.selection = trace.selection;
        let name = match trace.is_filtered_here {
            true => "search, with conditions that SQL cannot decide",
            false => "search",
        };
        plan.stages = vec![SearchStage::new(name, micros)];
        Ok(plan)
    }
}

fn validate_page(limit: usize) -> Result<()> {
    llmspell_core::validate_key_value::page(limit)
}
