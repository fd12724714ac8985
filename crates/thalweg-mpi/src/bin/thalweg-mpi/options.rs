//! Options of a command: `--name value`.

use anyhow::{Result, anyhow, bail};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// The given values, by name.
#[derive(Debug)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    pub fn parse(args: &[String], known: &[&str]) -> Result<Self> {
        let mut given = BTreeMap::new();
        for pair in args.chunks(2) {
            let name = pair[0].strip_prefix("--").ok_or_else(|| anyhow!("'{}' is not an option; see --help", pair[0]))?;
            if !known.contains(&name) && !["threads", "watchdog"].contains(&name) {
                bail!("unknown option --{name}; known: --{}, --threads, --watchdog", known.join(", --"));
            }
            let value = pair.get(1).ok_or_else(|| anyhow!("--{name} wants a value"))?;
            if given.insert(name.to_string(), value.clone()).is_some() {
                bail!("--{name} is given twice");
            }
        }
        Ok(Self(given))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn get<T: FromStr<Err: Display>>(&self, name: &str, default: T) -> Result<T> {
        let parsed = self.text(name).map(|text| text.parse().map_err(|error| anyhow!("--{name} {text}: {error}")));
        parsed.unwrap_or(Ok(default))
    }

    /// A number of at least 1.
    pub fn count(&self, name: &str, default: usize) -> Result<usize> {
        match self.get(name, default)? {
            0 => bail!("--{name} wants at least 1"),
            count => Ok(count),
        }
    }

    /// All given options as text, to compare the ranks by.
    pub fn common(&self) -> String {
        let same = |(name, value): (&String, &String)| format!("--{name} {value}");
        self.0.iter().map(same).collect::<Vec<_>>().join(" ")
    }
}
