//! The width of the beam of a search, and the reason for it.

use llmspell_core::{EfChoice, EfSource, VectorQuery};

use crate::indexes::files::Measured;
use crate::namespace::Namespace;
use crate::spaces::registry::Space;

/// The width that the query sets, else the configuration, else the one chosen by measuring; before the first
/// measurement the initial one for the recall target.
pub(super) fn width(query: &VectorQuery, space: &Space, namespace: &Namespace) -> usize {
    query.ef_search.unwrap_or_else(|| width_and_source(space, namespace).0)
}

fn width_and_source(space: &Space, namespace: &Namespace) -> (usize, EfSource) {
    let target = space.recall_target();
    match target.map(|target| namespace.measured_ef(target)) {
        Some(Some(ef)) => (ef, EfSource::Measured),
        Some(None) => (space.config.read().ef_search(), EfSource::Preset),
        None => (space.config.read().ef_search(), EfSource::Config),
    }
}

/// The width of searches in a namespace, or of one query, and the reason for it.
pub(crate) fn ef_choice(query: Option<&VectorQuery>, space: &Space, namespace: &Namespace) -> EfChoice {
    let (ef, source) = match query.and_then(|query| query.ef_search) {
        Some(ef) => (ef, EfSource::Query),
        None => width_and_source(space, namespace),
    };
    let target = space.recall_target();
    let measured = namespace.measured().filter(|measured| Some(measured.target) == target);
    let target = space.config.read().recall_target();
    EfChoice::new(ef, source, target, measured.map(Measured::to_stats))
}
