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
            if !known.contains(&name) {
                bail!("unknown option --{name}; known: --{}", known.join(", --"));
            }
            let value = pair.get(1).ok_or_else(|| anyhow!("--{name} wants a value"))?;
            if given.insert(name.to_string(), value.clone()).is_some() {
                bail!("--{name} is given twice");
            }
        }
        Ok(Self(given))
    }

    /// Takes these options out of the arguments, as `--name value` or `--name=value`; returns the other arguments as well.
    pub fn split(args: &[String], own: &[&str]) -> Result<(Self, Vec<String>)> {
        let (mut given, mut others) = (BTreeMap::new(), Vec::new());
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (name, value) = arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
            let Some(name) = name.strip_prefix("--").filter(|name| own.contains(name)) else {
                others.push(arg.clone());
                continue;
            };
            let value = value.or_else(|| args.next().map(String::as_str)).ok_or_else(|| anyhow!("--{name} wants a value"))?;
            if given.insert(name.to_string(), value.to_string()).is_some() {
                bail!("--{name} is given twice");
            }
        }
        Ok((Self(given), others))
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
}
