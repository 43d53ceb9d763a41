//! [`StateScope`]: the kinds of scopes, and their validation.

/// Longest id inside a scope, in bytes of UTF-8.
pub const SCOPE_ID_BYTES_MAX: usize = 1024;

/// The owner of a piece of data.
///
/// Two scopes are the same if and only if kind and id are equal byte for byte: no case folding, no Unicode
/// normalization, no hierarchy. `Custom("user:ada")` and `User("ada")` are different scopes.
///
/// The id must not be empty and not longer than [`SCOPE_ID_BYTES_MAX`]; [`validate`](Self::validate) checks it, and
/// every store calls that first. Parsing and deserializing check it too.
///
/// ```
/// use llmspell_state_traits::StateScope;
///
/// let scope = StateScope::custom("tenant:123");
/// assert_eq!(scope, StateScope::Custom("tenant:123".to_string()));
/// assert_eq!(scope.to_string(), "custom:tenant:123");
/// assert_eq!(StateScope::try_from("custom:tenant:123")?, scope);
/// # Ok::<(), llmspell_state_traits::ScopeError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateScope {
    /// Shared by all users of the store. The default of a call without a scope.
    #[default]
    Global,
    /// One person.
    User(String),
    /// One conversation.
    Session(String),
    /// One agent.
    Agent(String),
    /// One tool.
    Tool(String),
    /// One workflow.
    Workflow(String),
    /// One hook.
    Hook(String),
    /// Any other owner, for example a tenant: `Custom("tenant:123")`.
    Custom(String),
}

/// The kind of a [`StateScope`] without its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeKind {
    /// [`StateScope::Global`].
    Global,
    /// [`StateScope::User`].
    User,
    /// [`StateScope::Session`].
    Session,
    /// [`StateScope::Agent`].
    Agent,
    /// [`StateScope::Tool`].
    Tool,
    /// [`StateScope::Workflow`].
    Workflow,
    /// [`StateScope::Hook`].
    Hook,
    /// [`StateScope::Custom`].
    Custom,
}

/// Why a value is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// The id of a scope must not be empty: "no owner" never means "every owner".
    #[error("scope `{kind}:`: the id is empty")]
    EmptyId {
        /// Kind of the scope, as in its text form.
        kind: &'static str,
    },

    /// The id is longer than [`SCOPE_ID_BYTES_MAX`].
    #[error("scope `{kind}:…`: the id has {got} bytes, at most {limit} are allowed")]
    IdTooLong {
        /// Kind of the scope, as in its text form.
        kind: &'static str,
        /// Length of the id in bytes.
        got: usize,
        /// [`SCOPE_ID_BYTES_MAX`].
        limit: usize,
    },

    /// The text does not start with a known kind.
    #[error(
        "`{text}` is not a scope: write `global` or `KIND:ID` with KIND one of user, session, agent, tool, workflow, hook, custom"
    )]
    UnknownKind {
        /// The text, shortened to 64 characters.
        text: String,
    },

    /// A `%` in the text is not followed by two hexadecimal digits, or the unescaped bytes are not UTF-8.
    #[error("`{text}` is not a scope: bad escape at byte {at}; write `%25` for a percent sign")]
    BadEscape {
        /// The text, shortened to 64 characters.
        text: String,
        /// Where the escape starts.
        at: usize,
    },

    /// The bytes are not those of a scope; see [`StateScope::to_bytes`].
    #[error("{len} bytes are not an encoded scope")]
    BadBytes {
        /// Number of bytes.
        len: usize,
    },
}

impl StateScope {
    /// One person: [`StateScope::User`]. The id is checked when the scope is used.
    #[must_use]
    pub fn user(id: impl Into<String>) -> Self {
        Self::User(id.into())
    }

    /// One conversation: [`StateScope::Session`]. The id is checked when the scope is used.
    #[must_use]
    pub fn session(id: impl Into<String>) -> Self {
        Self::Session(id.into())
    }

    /// One agent: [`StateScope::Agent`]. The id is checked when the scope is used.
    #[must_use]
    pub fn agent(id: impl Into<String>) -> Self {
        Self::Agent(id.into())
    }

    /// One tool: [`StateScope::Tool`]. The id is checked when the scope is used.
    #[must_use]
    pub fn tool(id: impl Into<String>) -> Self {
        Self::Tool(id.into())
    }

    /// One workflow: [`StateScope::Workflow`]. The id is checked when the scope is used.
    #[must_use]
    pub fn workflow(id: impl Into<String>) -> Self {
        Self::Workflow(id.into())
    }

    /// One hook: [`StateScope::Hook`]. The id is checked when the scope is used.
    #[must_use]
    pub fn hook(id: impl Into<String>) -> Self {
        Self::Hook(id.into())
    }

    /// Any other owner, for example a tenant: [`StateScope::Custom`]. The id is checked when the scope is used.
    #[must_use]
    pub fn custom(id: impl Into<String>) -> Self {
        Self::Custom(id.into())
    }

    /// Kind of this scope.
    #[must_use]
    pub fn kind(&self) -> ScopeKind {
        match self {
            Self::Global => ScopeKind::Global,
            Self::User(_) => ScopeKind::User,
            Self::Session(_) => ScopeKind::Session,
            Self::Agent(_) => ScopeKind::Agent,
            Self::Tool(_) => ScopeKind::Tool,
            Self::Workflow(_) => ScopeKind::Workflow,
            Self::Hook(_) => ScopeKind::Hook,
            Self::Custom(_) => ScopeKind::Custom,
        }
    }

    /// Id inside the kind; none for [`StateScope::Global`].
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Global => None,
            Self::User(id)
            | Self::Session(id)
            | Self::Agent(id)
            | Self::Tool(id)
            | Self::Workflow(id)
            | Self::Hook(id)
            | Self::Custom(id) => Some(id),
        }
    }

    /// Checks the id.
    ///
    /// # Errors
    ///
    /// [`ScopeError::EmptyId`] or [`ScopeError::IdTooLong`].
    pub fn validate(&self) -> Result<(), ScopeError> {
        let kind = self.kind().name();
        match self.id() {
            Some("") => Err(ScopeError::EmptyId { kind }),
            Some(id) if id.len() > SCOPE_ID_BYTES_MAX => Err(ScopeError::IdTooLong {
                kind,
                got: id.len(),
                limit: SCOPE_ID_BYTES_MAX,
            }),
            Some(_) | None => Ok(()),
        }
    }
}

impl ScopeKind {
    /// Every kind, in the order of their tags.
    pub(crate) const ALL: [Self; 8] = [
        Self::Global,
        Self::User,
        Self::Session,
        Self::Agent,
        Self::Tool,
        Self::Workflow,
        Self::Hook,
        Self::Custom,
    ];

    /// The word before the colon in the text form.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::User => "user",
            Self::Session => "session",
            Self::Agent => "agent",
            Self::Tool => "tool",
            Self::Workflow => "workflow",
            Self::Hook => "hook",
            Self::Custom => "custom",
        }
    }

    /// A scope of this kind; [`ScopeKind::Global`] has no id and ignores it.
    pub(crate) fn with_id(self, id: String) -> StateScope {
        match self {
            Self::Global => StateScope::Global,
            Self::User => StateScope::User(id),
            Self::Session => StateScope::Session(id),
            Self::Agent => StateScope::Agent(id),
            Self::Tool => StateScope::Tool(id),
            Self::Workflow => StateScope::Workflow(id),
            Self::Hook => StateScope::Hook(id),
            Self::Custom => StateScope::Custom(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_id_is_refused_wherever_it_comes_from() {
        let empty = StateScope::User(String::new());
        assert_eq!(empty.validate(), Err(ScopeError::EmptyId { kind: "user" }));
        assert!("user:".parse::<StateScope>().is_err());
        assert!(StateScope::from_bytes(&empty.to_bytes()).is_err());
    }

    #[test]
    fn an_id_of_the_greatest_length_is_fine_and_one_byte_more_is_not() {
        let scope = |len| StateScope::Custom("x".repeat(len));
        assert_eq!(scope(SCOPE_ID_BYTES_MAX).validate(), Ok(()));
        let error = scope(SCOPE_ID_BYTES_MAX + 1).validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "scope `custom:…`: the id has 1025 bytes, at most 1024 are allowed"
        );
    }
}
