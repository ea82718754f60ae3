//! Identifiers. Different things have different types, so that a project's id cannot be taken for a
//! secret's. None of them is confidential.

use std::fmt;

use serde::Deserialize;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        /// Reads an id in any form the `uuid` crate knows, as Bitwarden's clients do.
        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }

        /// Lower case with hyphens: the form that is sent and shown.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// The public part of an access token: shown in Bitwarden's token list, allowed in messages.
    TokenId
);
id!(
    /// An organization.
    OrganizationId
);
id!(
    /// A project of an organization.
    ProjectId
);
id!(
    /// A secret.
    SecretId
);
