//! Writing of the JSON form.

use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};

use crate::filter::check;
use crate::filter::condition::Filter;

impl Serialize for Filter {
    /// Writes the JSON form.
    ///
    /// # Errors
    ///
    /// A filter deeper than the limit, or a number that is not finite.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        check::depth_at_most(self.depth()).map_err(S::Error::custom)?;
        Operator(self).serialize(serializer)
    }
}

impl Filter {
    /// A loop, not a recursion: the writer's recursion is bounded by this depth.
    fn depth(&self) -> usize {
        let mut depth_max = 0;
        let mut rest = vec![(self, 1)];
        while let Some((filter, depth)) = rest.pop() {
            depth_max = depth_max.max(depth);
            match filter {
                Self::And(conditions) | Self::Or(conditions) => {
                    rest.extend(conditions.iter().map(|condition| (condition, depth + 1)));
                }
                Self::Not(condition) => rest.push((condition, depth + 1)),
                _ => {}
            }
        }
        depth_max
    }
}

/// A filter of bounded depth: `{operator: operand}`.
struct Operator<'a>(&'a Filter);

/// The operand of the operator.
struct Operand<'a>(&'a Filter);

impl Serialize for Operator<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0.operator(), &Operand(self.0))?;
        map.end()
    }
}

impl Serialize for Operand<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let field = match self.0 {
            Filter::And(conditions) | Filter::Or(conditions) => {
                return serializer.collect_seq(conditions.iter().map(Operator));
            }
            Filter::Not(condition) => return Operator(condition).serialize(serializer),
            Filter::All => return serializer.serialize_map(Some(0))?.end(),
            Filter::Eq { field, .. }
            | Filter::Ne { field, .. }
            | Filter::In { field, .. }
            | Filter::Lt { field, .. }
            | Filter::Le { field, .. }
            | Filter::Gt { field, .. }
            | Filter::Ge { field, .. }
            | Filter::Between { field, .. }
            | Filter::Exists { field }
            | Filter::IsNull { field }
            | Filter::Contains { field, .. }
            | Filter::StartsWith { field, .. }
            | Filter::MatchesText { field, .. } => field,
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("field", &field.to_string())?;
        match self.0 {
            Filter::Eq { value, .. }
            | Filter::Ne { value, .. }
            | Filter::Lt { value, .. }
            | Filter::Le { value, .. }
            | Filter::Gt { value, .. }
            | Filter::Ge { value, .. }
            | Filter::Contains { value, .. } => map.serialize_entry("value", value)?,
            Filter::In { values, .. } => map.serialize_entry("values", values)?,
            Filter::Between { low, high, .. } => {
                map.serialize_entry("low", low)?;
                map.serialize_entry("high", high)?;
            }
            Filter::StartsWith { prefix, .. } => map.serialize_entry("prefix", prefix)?,
            Filter::MatchesText { text, .. } => map.serialize_entry("text", text)?,
            Filter::Exists { .. } | Filter::IsNull { .. } => {}
            Filter::All | Filter::And(_) | Filter::Or(_) | Filter::Not(_) => unreachable!("returned above"),
        }
        map.end()
    }
}
