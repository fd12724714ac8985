//! Which tensors are in which group, once the tensors are known.

use super::domain::Domain;
use super::recipe::Recipe;
use crate::error::{Error, Result};
use crate::plan::{Arena, Tensor};

/// Tensors named in an error, at most.
const FEW: usize = 5;

impl Recipe {
    /// This recipe and an arena as they are recorded: each tensor with its group, each group with a rule per lane, and no group
    /// without tensors.
    ///
    /// # Errors
    /// No rules, a name given twice, a number of rules other than 1 or that of the lanes, or a group that no tensor is left
    /// for.
    pub(super) fn settled(&self, arena: &Arena) -> Result<(Self, Arena)> {
        let (mut recipe, mut arena) = (self.clone(), arena.clone());
        let lanes = self.lanes();
        if lanes == 0 {
            return Err(Error::Empty { what: "the list of rules".into() });
        }
        for (index, group) in recipe.groups.iter_mut().enumerate() {
            if self.groups[..index].iter().any(|earlier| earlier.name == group.name) {
                return Err(Error::Duplicate { kind: "group".into(), name: group.name.clone() });
            }
            match group.rules.len() {
                1 => group.rules = vec![group.rules[0].clone(); lanes],
                found if found == lanes => {}
                found => {
                    let what = format!("rules of group '{}'", group.name);
                    return Err(Error::shape(what, format!("1, or {lanes}, one per lane,"), found));
                }
            }
        }
        let of =
            |tensor: &Tensor| self.groups.iter().skip(1).position(|group| group.takes.takes(tensor)).map_or(0, |at| at + 1);
        let mut own: Vec<usize> = arena.tensors().iter().map(of).collect();
        if let Some(empty) = (1..self.groups.len()).find(|group| !own.contains(group)) {
            return Err(self.nothing_for(empty, &own, &arena));
        }
        if !own.is_empty() && !own.contains(&0) {
            recipe.groups.remove(0);
            own.iter_mut().for_each(|group| *group -= 1);
        }
        let domains = recipe.domains()?;
        recipe.groups.iter_mut().zip(domains).for_each(|(group, domain)| group.domain = domain);
        let mut own = own.into_iter();
        arena.group_by(|_| own.next().unwrap_or(0));
        Ok((recipe, arena))
    }

    /// The error of a group that takes none of the tensors that the groups before it leave.
    fn nothing_for(&self, group: usize, own: &[usize], arena: &Arena) -> Error {
        let left = arena.tensors().iter().zip(own).filter(|(_, own)| **own == 0 || **own > group);
        let mut names: Vec<String> = left.map(|(tensor, _)| format!("'{}'", tensor.name)).collect();
        let more = names.len().saturating_sub(FEW);
        names.truncate(FEW);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let left = if names.is_empty() {
            "no tensor is left for it".into()
        } else {
            format!("it takes none of {}{more}", names.join(", "))
        };
        Error::Empty { what: format!("group '{}' ({left})", self.groups[group].name) }
    }

    /// The place of a group.
    ///
    /// # Errors
    /// [`Error::Unknown`], listing the groups.
    pub(super) fn group_named(&self, name: &str) -> Result<usize> {
        let known: Vec<&str> = self.groups.iter().map(|group| group.name.as_str()).collect();
        known.iter().position(|known| *known == name).ok_or_else(|| Error::unknown("group", name, &known))
    }

    /// The domain of each group.
    ///
    /// # Errors
    /// A set that names a group that does not exist or that is in another set, or a norm that no group is left for.
    pub(super) fn domains(&self) -> Result<Vec<Domain>> {
        let mut domains = vec![None; self.groups.len()];
        for (index, set) in self.clip_sets.iter().enumerate() {
            if set.groups.is_empty() {
                return Err(Error::Empty { what: "a set of groups to clip".into() });
            }
            for name in &set.groups {
                let group = self.group_named(name)?;
                if domains[group].is_some() {
                    return Err(Error::Duplicate { kind: "group to clip".into(), name: name.clone() });
                }
                domains[group] = Some(Domain::Set(index));
            }
        }
        let left =
            |domains: &[Option<Domain>]| (0..domains.len()).filter(|&group| domains[group].is_none()).collect::<Vec<_>>();
        let rest = left(&domains);
        if self.clips_norm() && rest.is_empty() {
            return Err(Error::conflict("clip_norm", "clip_norm_of", "its sets leave no group to it"));
        }
        let orthogonal = |&group: &usize| self.rule(0, group).orthogonal().is_some();
        // Where there is nothing else, orthogonal directions are what is meant.
        let all = rest.iter().all(orthogonal);
        let shares = |group| if self.clips_norm() { all || !orthogonal(group) } else { self.clip_sets.is_empty() };
        rest.iter().for_each(|group| domains[*group] = Some(if shares(group) { Domain::Global } else { Domain::Outside }));
        Ok(domains.into_iter().flatten().collect())
    }
}
