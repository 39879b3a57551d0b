//! Tables of keys.

/// Declares an enum of keys with the name of each. Encoder and decoder both use the enum, so it is
/// a compile error if only one of them handles a key.
macro_rules! keys {
    (
        $(#[$about:meta])*
        pub enum $type:ident {
            $($(#[$doc:meta])* $key:ident = $name:literal,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type {
            $($(#[$doc])* $key,)*
        }

        impl $type {
            /// All keys.
            pub const ALL: &'static [$type] = &[$($type::$key,)*];

            /// The name of the key, as it is written.
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$key => $name,)*
                }
            }

            /// The key of this name.
            pub fn from_name(name: &[u8]) -> Option<Self> {
                Self::ALL.iter().copied().find(|key| key.name().as_bytes() == name)
            }
        }
    };
}

pub(crate) use keys;
