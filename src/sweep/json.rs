//! Just enough JSON for lines of a table: objects of texts, numbers, switches, nulls and objects. Numbers keep all their
//! digits.

use std::fmt::Write;

/// A JSON value of such a line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Switch(bool),
    /// As it is written.
    Number(String),
    Text(String),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The field of an object; null if it is not there.
    pub fn field(&self, name: &str) -> &Json {
        let fields = if let Self::Object(fields) = self { fields.as_slice() } else { &[] };
        fields.iter().find(|(own, _)| own == name).map_or(&Self::Null, |(_, value)| value)
    }

    /// Reads a line that is one value.
    ///
    /// # Errors
    /// The column, counted from 1 in characters, and what was expected there.
    pub fn read(line: &str) -> Result<Self, (u64, &'static str)> {
        let mut reader = Reader { text: line.chars().collect(), at: 0 };
        let read = reader.value(0).and_then(|value| match reader.peek() {
            None => Ok(value),
            Some(_) => Err("the end of the line"),
        });
        read.map_err(|expected| (reader.at as u64 + 1, expected))
    }
}

/// How deep objects may lie within objects.
const DEEPEST: usize = 8;

struct Reader {
    text: Vec<char>,
    at: usize,
}

impl Reader {
    /// The next character that is not a blank.
    fn peek(&mut self) -> Option<char> {
        while self.text.get(self.at).is_some_and(|c| c.is_ascii_whitespace()) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: char, expected: &'static str) -> Result<(), &'static str> {
        match self.peek() {
            Some(found) if found == wanted => {
                self.at += 1;
                Ok(())
            }
            _ => Err(expected),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, &'static str> {
        match self.peek() {
            Some('{') if depth < DEEPEST => self.object(depth),
            Some('"') => self.string().map(Json::Text),
            Some(c) if c == '-' || c.is_ascii_digit() => self.number(),
            Some(_) => self.word(),
            None => Err("a value"),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, &'static str> {
        self.take('{', "an object")?;
        let mut fields = Vec::new();
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(Json::Object(fields));
        }
        loop {
            self.peek();
            let name = self.string()?;
            self.take(':', "a colon")?;
            fields.push((name, self.value(depth + 1)?));
            if self.peek() == Some(',') {
                self.at += 1;
            } else {
                self.take('}', "a comma or the end of the object")?;
                return Ok(Json::Object(fields));
            }
        }
    }

    fn string(&mut self) -> Result<String, &'static str> {
        self.take('"', "a text in quotes")?;
        let mut text = String::new();
        loop {
            let c = self.text.get(self.at).ok_or("the end of the text")?;
            self.at += 1;
            match c {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                c => text.push(*c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, &'static str> {
        let c = self.text.get(self.at).copied().ok_or("the end of the text")?;
        self.at += 1;
        Ok(match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let high = self.unit()?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high).ok_or("a character");
                }
                // A character beyond the first plane is written as two units.
                let next: String = self.text.iter().skip(self.at).take(2).collect();
                self.at += 2;
                let low = if next == "\\u" { self.unit()? } else { 0 };
                let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400).ok_or("the second half of a character")?;
                return char::from_u32(0x10000 + ((high - 0xd800) << 10) + low).ok_or("a character");
            }
            '"' | '\\' | '/' => c,
            _ => return Err("an escape that JSON knows"),
        })
    }

    fn unit(&mut self) -> Result<u32, &'static str> {
        let digits: String = self.text.iter().skip(self.at).take(4).collect();
        self.at += 4;
        let hex = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_hexdigit());
        u32::from_str_radix(&digits, 16).ok().filter(|_| hex).ok_or("four hexadecimal digits")
    }

    fn number(&mut self) -> Result<Json, &'static str> {
        let number: String = self.text[self.at..].iter().take_while(|c| c.is_ascii_digit() || "+-.eE".contains(**c)).collect();
        match number.parse::<f64>() {
            Ok(x) if x.is_finite() => {
                self.at += number.len();
                Ok(Json::Number(number))
            }
            _ => Err("a number"),
        }
    }

    fn word(&mut self) -> Result<Json, &'static str> {
        let word: String = self.text[self.at..].iter().take_while(|c| c.is_ascii_alphabetic()).collect();
        let value = match word.as_str() {
            "null" => Json::Null,
            "true" => Json::Switch(true),
            "false" => Json::Switch(false),
            _ => return Err("a value"),
        };
        self.at += word.len();
        Ok(value)
    }
}

/// The text in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                // Control characters are all within four digits, and writing to a text cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::{Json, quoted};

    #[test]
    fn what_is_quoted_is_read() {
        for text in ["", "adam", "a \"b\" \\ c", "tab\tline\nbell\u{7}", "größer 深い 🏞"] {
            assert_eq!(Json::read(&quoted(text)), Ok(Json::Text(text.into())));
        }
        assert_eq!(Json::read(r#""\u00e9\ud83c\udfde\/\n""#), Ok(Json::Text("é🏞/\n".into())));
    }

    #[test]
    fn objects_have_fields() {
        let line = r#" { "a" : 1.5e-3 , "b":{"c":null,"d":true}, "e":{} } "#;
        let json = Json::read(line).expect("an object");
        assert_eq!(json.field("a"), &Json::Number("1.5e-3".into()));
        assert_eq!(json.field("b").field("d"), &Json::Switch(true));
        assert_eq!((json.field("b").field("c"), json.field("x")), (&Json::Null, &Json::Null));
    }

    #[test]
    fn other_lines_are_refused_where_they_are_wrong() {
        for (line, column) in [
            ("", 1),
            ("{", 2),
            ("{\"a\"}", 5),
            ("{\"a\":1", 7),
            ("{\"a\":1,}", 8),
            ("{\"a\":1} x", 9),
            ("[1]", 1),
            ("{\"a\":nan}", 6),
            ("{\"a\":1e999}", 6),
            ("{\"a\":\"b", 8),
            ("\"\\x\"", 4),
            ("\"\\ud800\"", 10),
            ("\"\\u12\"", 8),
        ] {
            assert_eq!(Json::read(line).map_err(|(column, _)| column), Err(column), "{line}");
        }
        let deep = "{\"a\":".repeat(100_000);
        assert!(Json::read(&deep).is_err());
    }
}
