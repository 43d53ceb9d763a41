//! [`merge_patch`]: changes metadata by a patch.

use serde_json::Value;

use crate::fields::Metadata;

/// Merges a patch into metadata by RFC 7396: a field of the patch replaces the existing one; null removes it; an object
/// is merged into the existing object. Arrays are replaced as a whole.
///
/// ```
/// # use llmspell_core::merge_patch;
/// # use serde_json::json;
/// # let object = |value: serde_json::Value| value.as_object().cloned().unwrap();
/// let mut metadata = object(json!({"lang": "en", "tags": ["a"], "by": {"name": "Ada", "age": 36}}));
/// merge_patch(&mut metadata, object(json!({"lang": null, "tags": ["b"], "by": {"age": 37}, "seen": true})));
/// assert_eq!(metadata, object(json!({"tags": ["b"], "by": {"name": "Ada", "age": 37}, "seen": true})));
/// ```
///
/// The recursion is as deep as the patch, whose nesting
/// [`validate_vectors::metadata_fields`](crate::validate_vectors::metadata_fields) bounds; the result is no deeper than
/// the deeper of the two.
pub fn merge_patch(metadata: &mut Metadata, patch: Metadata) {
    for (key, value) in patch {
        match value {
            Value::Null => drop(metadata.remove(&key)),
            Value::Object(inner) => {
                let there = metadata.entry(key).or_insert(Value::Null);
                if !there.is_object() {
                    *there = Value::Object(Metadata::new());
                }
                if let Value::Object(there) = there {
                    merge_patch(there, inner);
                }
            }
            value => drop(metadata.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_is_merged_as_the_examples_of_the_rfc_say() {
        // Appendix A of RFC 7396: the cases in which target and patch are objects.
        let cases = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ];
        for (target, patch, expected) in cases {
            let mut merged = target.as_object().cloned().unwrap();
            merge_patch(&mut merged, patch.as_object().cloned().unwrap());
            assert_eq!(Value::Object(merged), expected, "{target} by {patch}");
        }
    }
}
