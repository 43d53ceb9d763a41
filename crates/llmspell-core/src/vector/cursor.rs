//! [`ListCursor`]: the place where a listing continues.
//!
//! ```text
//! byte 0       1     2    3              11             13      …    …
//!      │version│order│time│ milliseconds │ scope: count │ scope │ id │ check    hexadecimal, two digits a byte
//!      │ u8    │ u8  │ u8 │ i64          │ u16          │ bytes │    │ u32      big-endian
//! ```
//!
//! * `version`: 1.
//! * `order`, `time`: places in [`ListOrder::ALL`] and [`OwnTime::ALL`]; `time` and `milliseconds` are 0 in an order by id.
//! * `scope`: as [`StateScope::to_bytes`]; no bytes stand for a place after the id in every scope.
//! * `check`: FNV-1a of the bytes before it, so that a cursor that was cut or mistyped is refused.

use std::fmt;
use std::str::FromStr;

use llmspell_state_traits::StateScope;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::list::ListOrder;
use crate::error::{Result, StorageError};
use crate::filter::OwnTime;

const VERSION: u8 = 1;
/// What stands before the scope.
const HEADER_BYTES: usize = 13;
const CHECK_BYTES: usize = 4;

/// The place in a listing after which the next page begins. A page [gives](super::ListPage::next) it, and a
/// [query](super::ListQuery::after) takes it.
///
/// Applications may pass it on as a text, to a browser for example. Its format may change. A text that no page
/// gave is refused with [`BadCursor`](StorageError::BadCursor). The entry at the place need not exist any more. The
/// text is not secret: it holds the id and the scope of an entry.
///
/// ```
/// # use llmspell_core::{ListCursor, ListQuery, StorageError};
/// let query = ListQuery::new("session:42".try_into()?).after_id("note-7");
/// let cursor = query.after.clone().unwrap();
/// assert_eq!(cursor.to_string().parse::<ListCursor>()?, cursor);
/// assert!(matches!("note-7".parse::<ListCursor>(), Err(StorageError::BadCursor { .. })));
/// # Ok::<(), StorageError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListCursor {
    pub(super) order: ListOrder,
    pub(super) time: OwnTime,
    pub(super) millis: i64,
    pub(super) id: String,
    /// `None` means the place after the id in every scope.
    pub(super) scope: Option<StateScope>,
}

impl ListCursor {
    fn to_bytes(&self) -> Vec<u8> {
        let place = |is_it: &dyn Fn(usize) -> bool, count| (0..count).find(|place| is_it(*place)).unwrap_or(0) as u8;
        let order = place(&|place| ListOrder::ALL[place] == self.order, ListOrder::ALL.len());
        let time = place(&|place| OwnTime::ALL[place] == self.time, OwnTime::ALL.len());
        let scope = self.scope.as_ref().map(StateScope::to_bytes).unwrap_or_default();
        let scope_len = u16::try_from(scope.len()).expect("the id of a scope is bounded");
        let mut bytes = vec![VERSION, order, if self.order.is_by_time() { time } else { 0 }];
        bytes.extend_from_slice(&self.millis.to_be_bytes());
        bytes.extend_from_slice(&scope_len.to_be_bytes());
        bytes.extend_from_slice(&scope);
        bytes.extend_from_slice(self.id.as_bytes());
        let check = check_of(&bytes);
        bytes.extend_from_slice(&check.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, &'static str> {
        let sealed = bytes.len().checked_sub(CHECK_BYTES).filter(|len| *len >= HEADER_BYTES);
        let (bytes, check) = bytes.split_at(sealed.ok_or("it is too short")?);
        if check_of(bytes).to_be_bytes() != check {
            return Err("it is cut or changed");
        }
        if bytes[0] != VERSION {
            return Err("another version of this library made it");
        }
        let unknown = "it names an order that is not known";
        let order = *ListOrder::ALL.get(usize::from(bytes[1])).ok_or(unknown)?;
        let time = *OwnTime::ALL.get(usize::from(bytes[2])).ok_or(unknown)?;
        let millis = i64::from_be_bytes(bytes[3..11].try_into().expect("8 bytes"));
        let scope_len = u16::from_be_bytes([bytes[11], bytes[12]]);
        let (scope, id) = bytes[HEADER_BYTES..]
            .split_at_checked(scope_len.into())
            .ok_or("it is cut or changed")?;
        let scope = match scope {
            [] => None,
            scope => Some(StateScope::from_bytes(scope).map_err(|_| "it names no scope")?),
        };
        Ok(Self {
            order,
            time: if order.is_by_time() { time } else { OwnTime::Created },
            millis,
            id: String::from_utf8(id.to_vec()).map_err(|_| "its id is no text")?,
            scope,
        })
    }
}

/// FNV-1a, 32 bits.
fn check_of(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

impl fmt::Display for ListCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ListCursor {
    type Err = StorageError;

    /// # Errors
    ///
    /// [`BadCursor`](StorageError::BadCursor) for a text that no page gave.
    fn from_str(text: &str) -> Result<Self> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
            .collect();
        let bytes = match digits {
            Some(digits) if digits.len() % 2 == 0 => {
                Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<u8>>())
            }
            _ => Err("it is no text that a page gave"),
        };
        let cursor = bytes.and_then(|bytes| Self::from_bytes(&bytes));
        cursor.map_err(|reason| StorageError::BadCursor { reason })
    }
}

impl Serialize for ListCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursor() -> impl Strategy<Value = ListCursor> {
        let scope = prop_oneof![
            Just(None),
            Just(Some(StateScope::Global)),
            ".{1,9}".prop_map(|id| Some(StateScope::User(id)))
        ];
        let order = prop::sample::select(ListOrder::ALL.to_vec());
        let time = prop::sample::select(OwnTime::ALL.to_vec());
        (order, time, any::<i64>(), ".{0,9}", scope).prop_map(|(order, time, millis, id, scope)| ListCursor {
            order,
            time: if order.is_by_time() { time } else { OwnTime::Created },
            millis,
            id,
            scope,
        })
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_from_its_text(cursor in cursor()) {
            prop_assert_eq!(cursor.to_string().parse::<ListCursor>().unwrap(), cursor);
        }

        #[test]
        fn a_cursor_that_was_changed_is_refused(cursor in cursor(), place in any::<prop::sample::Index>(), other in 0..16_u32) {
            let mut text: Vec<char> = cursor.to_string().chars().collect();
            let place = place.index(text.len());
            let digit = char::from_digit(other, 16).unwrap();
            prop_assume!(text[place] != digit);
            text[place] = digit;
            let changed: String = text.iter().collect();
            prop_assert!(changed.parse::<ListCursor>().is_err(), "{}", changed);
            let cut: String = text[..place].iter().collect();
            prop_assert!(cut.parse::<ListCursor>().is_err(), "{}", cut);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f]{0,60}|.{0,9}") {
            prop_assert!(text.parse::<ListCursor>().is_err());
        }
    }

    #[test]
    fn the_text_of_a_cursor_never_changes() {
        let cursor = ListCursor {
            order: ListOrder::NewestFirst,
            time: OwnTime::Created,
            millis: 258,
            id: "a".to_string(),
            scope: Some(StateScope::User("b".to_string())),
        };
        assert_eq!(cursor.to_string(), "010301000000000000010200040101006261a75eb9d2");
    }
}
