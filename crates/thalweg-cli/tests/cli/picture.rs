//! A check of pictures.

/// Whether a text is XML with one root: tags nest, and the text between them needs no escape.
pub fn well_formed(text: &str) -> Result<(), String> {
    let (mut open, mut roots) = (Vec::new(), 0);
    let mut rest = text.trim();
    while let Some((before, tail)) = rest.split_once('<') {
        let (tag, after) = tail.split_once('>').ok_or_else(|| format!("'<{tail}' has no end"))?;
        if before.contains('>') || (open.is_empty() && !before.trim().is_empty()) {
            return Err(format!("stray text '{before}'"));
        }
        if tag.matches('"').count() % 2 != 0 || tag.contains('<') {
            return Err(format!("quotes of '<{tag}>'"));
        }
        let name = |tag: &str| tag.split_whitespace().next().unwrap_or_default().to_owned();
        if let Some(closed) = tag.strip_prefix('/') {
            if open.pop() != Some(name(closed)) {
                return Err(format!("'<{tag}>' closes nothing"));
            }
        } else if !tag.starts_with(['?', '!']) {
            roots += usize::from(open.is_empty());
            if !tag.ends_with('/') {
                open.push(name(tag));
            }
        }
        rest = after;
    }
    match (open.as_slice(), roots, rest) {
        ([], 1, "") => Ok(()),
        _ => Err(format!("{roots} roots, {open:?} left open, '{rest}' at the end")),
    }
}

#[test]
fn broken_xml_is_noticed() {
    assert_eq!(well_formed("<?xml version=\"1.0\"?>\n<a b=\"c\"><d/>e<f>g</f></a>\n"), Ok(()));
    for broken in ["", "<a>", "<a></b>", "<a/><b/>", "<a/>b", "<a><b></a></b>", "<a b=\"c></a>", "<a>b > c</a>", "<a", "</a>"] {
        assert!(well_formed(broken).is_err(), "{broken}");
    }
}
