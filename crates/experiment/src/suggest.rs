//! "Did you mean ...?": the nearest known word to one that is not known.

/// The known word nearest to `word`, if one is near enough to be meant: at most one slip (a letter missing, added,
/// changed, or two swapped) per three letters. The first of equals wins.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(slips, _)| *slips <= limit)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn one_slip_in_three_letters_is_forgiven() {
        let known = ["train", "data", "audit"];
        assert_eq!(nearest("trian", known), Some("train"));
        assert_eq!(nearest("Data", known), Some("data"));
        assert_eq!(nearest("model", known), None);
        assert_eq!(nearest("n", ["m", "steps"]), Some("m"));
    }
}
