//! The colours of every figure, on the page and in files: Okabe and Ito's, which the common colour deficiencies tell apart, some of them
//! darker on white. Colour never stands alone: a shape or a word says the same.

/// A colour on white, and on a dark page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ink {
    /// On white.
    pub light: &'static str,
    /// On a dark page.
    pub dark: &'static str,
}

const fn ink(light: &'static str, dark: &'static str) -> Ink {
    Ink { light, dark }
}

/// Images that a model was trained on, and nothing else.
pub const MEMBERS: Ink = ink("#D55E00", "#D55E00");
/// Images that it never saw, and nothing else.
pub const OTHERS: Ink = ink("#0072B2", "#3A95CF");
/// Guessing: grey, and a dashed line.
pub const CHANCE: Ink = ink("#777777", "#9a9a9a");
/// Series of all other kinds, in this order. After the last one the first comes again, with a hollow mark.
pub const SERIES: [Ink; 6] = [
    ink("#009E73", "#009E73"),
    ink("#CC79A7", "#CC79A7"),
    ink("#B98000", "#E69F00"),
    ink("#3C9BD6", "#56B4E9"),
    ink("#1d1f22", "#e9e6df"),
    ink("#8A7F00", "#F0E442"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The page's style has the same colours under its own names.
    #[test]
    fn the_page_has_these_colours() {
        let style = include_str!("../../audit/src/html/style.css");
        let (light, rest) = style
            .split_once("@media (prefers-color-scheme: dark)")
            .expect("dark");
        let dark = rest.split_once("\n}\n").expect("its end").0;
        let mut named = vec![
            ("member".to_owned(), MEMBERS),
            ("nonmember".to_owned(), OTHERS),
            ("chance".to_owned(), CHANCE),
        ];
        named.extend((0..).map(|i| format!("s{i}")).zip(SERIES));
        for (name, ink) in named {
            let set = |colour: &str| format!("--{name}: {colour};");
            assert!(light.contains(&set(ink.light)), "{}", set(ink.light));
            let there = dark.contains(&set(ink.dark));
            assert!(
                there || ink.light == ink.dark && !dark.contains(&format!("--{name}:")),
                "{name}"
            );
        }
    }
}
