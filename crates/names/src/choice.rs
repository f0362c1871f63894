//! Enums whose variants are words of flags and files.

/// An enum whose variants have one name on the command line, in TOML and in JSON. A crate that has one depends on `serde` and `schemars`,
/// and has a feature `clap`, with which the variants are values of flags.
#[macro_export]
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
        #[derive(::serde::Serialize, ::serde::Deserialize, ::schemars::JsonSchema)]
        #[cfg_attr(feature = "clap", derive(::clap::ValueEnum))]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $text)] #[cfg_attr(feature = "clap", value(name = $text))] $variant,)+
        }

        impl $name {
            /// The name that flags and files use.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
