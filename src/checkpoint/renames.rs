//! Other names for the tensors of a file.

use super::tensors::Tensors;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// A table that gives the tensors of another program the names that they have here.
///
/// A whole name in the table comes first, then the longest prefix in it. Tensors that neither fits keep their names.
///
/// # Examples
///
/// ```
/// use thalweg::checkpoint::{Renames, Tensors};
///
/// let mut weights = Tensors::default();
/// for name in ["module.fc1.weight", "module.fc1.bias", "module.out"] {
///     weights.put(name, &[1], &[1.0f32])?;
/// }
/// let renames = Renames::default().prefix("module.", "").prefix("module.fc1.", "0.").exact("module.out", "2.weight");
/// let renamed = renames.apply(&weights)?;
/// assert_eq!(renamed.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["0.bias", "0.weight", "2.weight"]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renames {
    exact: BTreeMap<String, String>,
    prefixes: BTreeMap<String, String>,
}

impl Renames {
    /// The tensor `from` gets the name `to`.
    pub fn exact(mut self, from: &str, to: &str) -> Self {
        self.exact.insert(from.into(), to.into());
        self
    }

    /// Names that begin with `from` begin with `to` instead. An empty `from` is the beginning of every name.
    pub fn prefix(mut self, from: &str, to: &str) -> Self {
        self.prefixes.insert(from.into(), to.into());
        self
    }

    /// The tensors by their new names, with the texts as they are.
    ///
    /// # Errors
    /// [`Error::NoTensor`] with the nearest names for a whole name that no tensor has; [`Error::Empty`] for a prefix with which
    /// no name begins; [`Error::Duplicate`] where two tensors get one name; a name that files keep for texts.
    pub fn apply(&self, tensors: &Tensors) -> Result<Tensors> {
        for from in self.exact.keys() {
            tensors.tensor(from)?;
        }
        if let Some(from) = self.prefixes.keys().find(|from| !tensors.iter().any(|(name, _)| name.starts_with(&***from))) {
            return Err(Error::Empty { what: format!("the list of tensors whose names begin with '{from}'") });
        }
        let mut renamed = tensors.texts_alone();
        for (name, tensor) in tensors.iter() {
            let name = self.renamed(name);
            if renamed.find(&name).is_some() {
                return Err(Error::Duplicate { kind: "tensor".into(), name });
            }
            renamed.insert(&name, tensor.clone())?;
        }
        Ok(renamed)
    }

    fn renamed(&self, name: &str) -> String {
        if let Some(to) = self.exact.get(name) {
            return to.clone();
        }
        let prefixes = self.prefixes.iter().filter_map(|(from, to)| Some((from, to, name.strip_prefix(&**from)?)));
        let longest = prefixes.max_by_key(|(from, ..)| from.len());
        longest.map_or(name.into(), |(_, to, rest)| format!("{to}{rest}"))
    }
}
