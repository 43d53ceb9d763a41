//! [`GroupBy`] and [`SelectionPlan`]: diverse or grouped results instead of the first `k`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::query::VectorQuery;
use crate::error::{Result, StorageError};
use crate::filter::{FieldPath, Scalar};
use crate::limits::{MMR_K_MAX, PAGE_MAX};

use super::validate::facet_field;
use crate::check::in_range;
use crate::fields::Metadata;

/// Limits the results for each value of a field; see [`VectorQuery::with_group_by`].
///
/// In JSON `{"field": "doc", "per_group": 2}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupBy {
    /// Field of the metadata whose values are the groups.
    #[serde(serialize_with = "write_path", deserialize_with = "read_path")]
    pub field: FieldPath,
    /// Most results of one group, 1 to [`PAGE_MAX`](crate::limits::PAGE_MAX).
    pub per_group: usize,
}

impl GroupBy {
    /// At most `per_group` results for each value of `field`.
    #[must_use]
    pub fn new(field: impl Into<FieldPath>, per_group: usize) -> Self {
        Self {
            field: field.into(),
            per_group,
        }
    }

    /// The group of an entry; none if it is a group of its own, because its field is missing, null, an array or an
    /// object. For implementers.
    #[must_use]
    pub fn group_of(&self, metadata: &Metadata) -> Option<Scalar> {
        let value = self.field.find(metadata)?;
        Scalar::try_from(value).ok().filter(|value| *value != Scalar::Null)
    }
}

fn write_path<S: Serializer>(path: &FieldPath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

fn read_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FieldPath, D::Error> {
    String::deserialize(deserializer).map(FieldPath::from)
}

/// The part of a [`SearchPlan`](super::SearchPlan) about diversity and groups.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SelectionPlan {
    /// Weight of relevance against diversity, if the query asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mmr: Option<f32>,
    /// The groups, if the query asked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<GroupBy>,
    /// The size of the shortlist that the last search asked for.
    pub shortlist: u64,
    /// Entries that the results were selected from.
    pub candidates: u64,
    /// Number of searches; the plan shows the last one.
    pub searches: u64,
}

impl SelectionPlan {
    /// The settings of a query, before it is answered. For implementers.
    #[must_use]
    pub fn of(query: &VectorQuery) -> Self {
        Self {
            mmr: query.mmr,
            group_by: query.group_by.clone(),
            ..Self::default()
        }
    }
}

/// One line.
impl fmt::Display for SelectionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lambda) = self.mmr {
            write!(f, "diverse with lambda {lambda}, ")?;
        }
        if let Some(GroupBy { field, per_group }) = &self.group_by {
            write!(f, "at most {per_group} for each {field}, ")?;
        }
        write!(
            f,
            "from {} candidates by {} searches, the last for {}",
            self.candidates, self.searches, self.shortlist
        )
    }
}

/// Checks the settings of a query for diversity and groups.
///
/// # Errors
///
/// [`StorageError::OutOfRange`] or [`StorageError::Filter`].
pub(super) fn check(query: &VectorQuery) -> Result<()> {
    if let Some(lambda) = query.mmr {
        if !(0.0..=1.0).contains(&lambda) {
            return Err(StorageError::OutOfRange {
                what: "lambda of a diverse search",
                got: f64::from(lambda),
                min: 0.0,
                max: 1.0,
            });
        }
        in_range("k of a diverse search", query.k, 1..=MMR_K_MAX)?;
        in_range("offset of a diverse search", query.offset, 0..=0)?;
    }
    if let Some(group_by) = &query.group_by {
        facet_field(&group_by.field)?;
        in_range("number of results per group", group_by.per_group, 1..=PAGE_MAX)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_values_without_parts_are_groups() {
        let group_by = GroupBy::new("meta.doc", 2);
        let group = |doc: serde_json::Value| {
            let metadata = json!({ "meta": { "doc": doc } });
            group_by.group_of(metadata.as_object().unwrap())
        };
        assert_eq!(group(json!("a")), Some(Scalar::Text("a".into())));
        assert_eq!(group(json!(1)), group(json!(1.0)));
        for alone in [json!(null), json!(["a"]), json!({ "a": 1 })] {
            assert_eq!(group(alone), None);
        }
        assert_eq!(group_by.group_of(&Metadata::new()), None);
    }

    #[test]
    fn the_json_form_of_both_reads_back() {
        let json = json!({"vector": [1.0], "k": 5, "scope": "global", "mmr": 0.5, "group_by": {"field": "doc", "per_group": 2}});
        let query: VectorQuery = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(query, VectorQuery::new([1.0], 5).with_mmr(0.5).with_group_by("doc", 2));
        assert_eq!(serde_json::to_value(&query).unwrap(), json);
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let text = |query: VectorQuery| check(&query).unwrap_err().to_string();
        let query = || VectorQuery::new([1.0], 5);
        check(&query().with_mmr(0.0).with_group_by("a", 1)).unwrap();
        check(&query().with_mmr(1.0)).unwrap();
        assert!(text(query().with_mmr(1.5)).contains("lambda of a diverse search is 1.5; it must be within 0..=1"));
        assert!(text(query().with_mmr(f32::NAN)).contains("NaN"));
        assert!(text(query().with_mmr(0.5).with_k(1_001)).contains("k of a diverse search is 1001"));
        assert!(text(query().with_mmr(0.5).with_offset(5)).contains("offset of a diverse search is 5"));
        assert!(text(query().with_group_by("a", 0)).contains("number of results per group is 0"));
        assert!(check(&query().with_group_by("a..b", 1)).is_err());
        assert!(check(&query().with_group_by("@created_at", 1)).is_err());
    }

    #[test]
    fn a_plan_says_both_in_one_line() {
        let query = VectorQuery::new([1.0], 5).with_mmr(0.5).with_group_by("doc", 2);
        let plan = SelectionPlan {
            shortlist: 200,
            candidates: 120,
            searches: 2,
            ..SelectionPlan::of(&query)
        };
        let expected =
            "diverse with lambda 0.5, at most 2 for each doc, from 120 candidates by 2 searches, the last for 200";
        assert_eq!(plan.to_string(), expected);
    }
}
