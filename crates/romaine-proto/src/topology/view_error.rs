//! Why a node's description of the topology is of no use.

use std::fmt;

use romaine_resp::{DecodeError, ServerError};

/// A node was asked about the topology, and its answer says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViewError {
    /// The node refuses to say: no cluster, no permission.
    Refused(ServerError),
    /// The Sentinel does not know a primary of this name.
    UnknownPrimary,
    /// The reply is not RESP.
    Undecodable(DecodeError),
    /// The reply does not have the form of an answer; what was expected.
    Form(&'static str),
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "the node does not describe the topology: {error}"),
            Self::UnknownPrimary => f.write_str("the Sentinel does not know a primary of this name"),
            Self::Undecodable(_) => f.write_str("the node's description of the topology is not RESP"),
            Self::Form(expected) => write!(f, "the node's description of the topology lacks {expected}"),
        }
    }
}

impl std::error::Error for ViewError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Undecodable(error) => Some(error),
            Self::Refused(error) => Some(error),
            Self::UnknownPrimary | Self::Form(_) => None,
        }
    }
}

impl From<DecodeError> for ViewError {
    fn from(error: DecodeError) -> Self {
        Self::Undecodable(error)
    }
}
