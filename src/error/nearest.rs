//! The names that may have been meant by one that is not known.

/// Characters of a name that are looked at, at most: what is taken for a name may be a whole file.
const LONGEST: usize = 256;

/// A name in small letters and without dashes.
fn plain(name: &str) -> String {
    name.chars().take(LONGEST).filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// The known names that are nearest to one that is not known, all at the same distance: within a slip per three characters of
/// it, or one slip, but never all of them. A slip is a character too many, too few or another one, or two that are swapped.
/// Case and dashes do not count.
///
/// # Examples
///
/// ```
/// use thalweg::error::nearest;
///
/// assert_eq!(nearest("adma", ["sgd", "adam", "adamw"]), ["adam"]);
/// assert_eq!(nearest("conv1.wieght", ["conv1.weight", "conv2.weight"]), ["conv1.weight"]);
/// assert!(nearest("momentum", ["sgd", "adam"]).is_empty());
/// ```
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted: Vec<char> = plain(name).chars().collect();
    let mut least = (wanted.len() / 3).max(1).min(wanted.len().saturating_sub(1));
    let mut found = Vec::new();
    for known in known {
        let chars: Vec<char> = plain(known).chars().collect();
        // As many slips as the lengths differ by, at least.
        if chars.len().abs_diff(wanted.len()) > least {
            continue;
        }
        let slips = distance(&wanted, &chars);
        if slips < least {
            least = slips;
            found.clear();
        }
        if slips == least {
            found.push(known);
        }
    }
    found
}

/// How many slips lead from one text to the other. Source: the restricted distance of Damerau and Levenshtein.
fn distance(from: &[char], to: &[char]) -> usize {
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=to.len()).collect());
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let other = usize::from(from[i - 1] != to[j - 1]);
            let mut slips = (last[j - 1] + other).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                slips = slips.min(before[j - 2] + 1);
            }
            row.push(slips);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        let slips = |from: &str, to: &str| distance(&from.chars().collect::<Vec<_>>(), &to.chars().collect::<Vec<_>>());
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "abxc", 1),
            ("abc", "ac", 1),
            ("abc", "axc", 1),
            ("ca", "abc", 3),
            ("kitten", "sitting", 3),
            ("größe", "grosse", 3),
        ] {
            assert_eq!((slips(from, to), slips(to, from)), (expected, expected), "{from}, {to}");
        }
    }

    #[test]
    fn the_nearest_names_are_found_among_many() {
        let names: Vec<String> = (0..5_000).map(|i| format!("layer.{i}.weight")).collect();
        let known = || names.iter().map(String::as_str);
        assert_eq!(nearest("layer.4777.wieght", known()), ["layer.4777.weight"]);
        assert_eq!(nearest("Layer.4777.WEIGHT", known()), ["layer.4777.weight"]);
        assert!(nearest("something quite different", known()).is_empty());
    }
}
