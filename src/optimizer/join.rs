//! Recipes of one lane side by side, as the lanes of one recipe.

use super::follower::Follower;
use super::recipe::Recipe;
use crate::error::{Error, Result};
use crate::plan::{Arena, PerLane};
use crate::rule::set;

impl Recipe {
    /// One recipe whose lanes have the settings of these recipes, of one lane each. They may differ in numbers alone: rules,
    /// groups, modifiers and what schedules are for are the same.
    ///
    /// # Errors
    /// No recipe, one of several lanes, or [`Error::Conflict`] for recipes that differ in more than numbers, as far as it shows
    /// without tensors.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Adam, Recipe};
    ///
    /// let recipe = |lr, clip| Recipe::new(Adam { lr, ..Default::default() }).clip_norm(clip);
    /// assert_eq!(Recipe::join([recipe(0.1, 1.0), recipe(0.2, 3.0)])?.lanes(), 2);
    /// assert!(Recipe::join([recipe(0.1, 1.0), recipe(0.1, 1.0).sam(0.05)]).is_err());
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn join(recipes: impl IntoIterator<Item = Self>) -> Result<Self> {
        let all: Vec<Self> = recipes.into_iter().collect();
        let Some(first) = all.first() else { return Err(Error::Empty { what: "the list of recipes".into() }) };
        if let Some(wide) = all.iter().find(|recipe| recipe.lanes() != 1) {
            return Err(Error::shape("lanes of a recipe that is joined", 1, wide.lanes()));
        }
        if all.iter().any(|recipe| recipe.frame() != first.frame()) {
            return Err(Error::conflict("a recipe", "another one", "lanes differ in numbers alone"));
        }
        let mut joined = first.clone();
        for (index, group) in joined.groups.iter_mut().enumerate() {
            group.rules = all.iter().map(|recipe| recipe.groups[index].rules[0].clone()).collect();
        }
        joined.clips = optional(&all, |recipe| recipe.clips.as_ref())?;
        joined.loss_scale = optional(&all, |recipe| recipe.loss_scale.as_ref())?;
        joined.decay = optional(&all, |recipe| recipe.decay.as_ref())?;
        joined.average = optional(&all, |recipe| recipe.average.as_ref())?;
        joined.lookahead = optional(&all, |recipe| recipe.lookahead.as_ref())?;
        joined.rho = optional(&all, |recipe| recipe.rho.as_ref())?;
        joined.grad_scale = together(&all, |recipe| &recipe.grad_scale);
        joined.l1 = together(&all, |recipe| &recipe.l1);
        for (index, set) in joined.clip_sets.iter_mut().enumerate() {
            set.max = together(&all, |recipe| &recipe.clip_sets[index].max);
        }
        for (index, follower) in joined.schedules.iter_mut().enumerate() {
            follower.schedules = together(&all, |recipe| &recipe.schedules[index].schedules);
        }
        Ok(joined)
    }

    /// This recipe, of one lane, with a lane for each value: a setting has it in the group that is named, or in all groups.
    ///
    /// # Errors
    /// A recipe of several lanes, an unknown group, a rule without the setting, a value out of its range, or a schedule that
    /// sets it in every step.
    pub(crate) fn with_each(&self, setting: &str, values: &[(Option<&str>, f64)]) -> Result<Self> {
        let with = |(group, value): &(Option<&str>, f64)| {
            let mut recipe = self.clone();
            let own = match group {
                Some(name) => vec![self.group_named(name)?],
                None => (0..self.groups.len()).collect(),
            };
            for group in own {
                if let Some(follower) = self.setter(&self.groups[group].name, setting) {
                    return Err(Error::conflict(setting, follower.name(), "the schedule sets it in every step"));
                }
                for rule in &mut recipe.groups[group].rules {
                    set(&mut **rule, setting, &value.to_string())?;
                    rule.check()?;
                }
            }
            Ok(recipe)
        };
        Self::join(values.iter().map(with).collect::<Result<Vec<_>>>()?)
    }

    /// Whether both can be lanes of one recipe over these tensors.
    pub(crate) fn goes_with(&self, other: &Self, arena: &Arena) -> bool {
        let joined = Self::join([self.clone(), other.clone()]);
        let checked = joined.and_then(|joined| joined.settled(arena)).and_then(|(recipe, arena)| recipe.check(&arena));
        checked.is_ok()
    }

    /// Whether a recipe of one lane has the settings of another one but for those of its rules, as far as it shows without
    /// tensors.
    pub(crate) fn is_but_for_rules(&self, other: &Self) -> bool {
        let text = |recipe: &Self| {
            let mut recipe = recipe.clone();
            recipe.groups.iter_mut().for_each(|group| group.rules.clear());
            format!("{recipe:?}")
        };
        self.frame() == other.frame() && text(self) == text(other)
    }

    /// What lanes of one recipe have in common, as far as it shows without tensors. Functions that choose tensors cannot be
    /// compared: such groups count as equal if their names are.
    fn frame(&self) -> String {
        let groups: Vec<_> = self.groups.iter().map(|group| (&group.name, &group.takes, group.rules[0].name())).collect();
        let options = (self.skip_bad, self.max_bad_steps, self.accumulation, self.half, self.state, self.zero_grads);
        let more = (self.cautious, self.centralise, self.inspect);
        let sets: Vec<_> = self.clip_sets.iter().map(|set| &set.groups).collect();
        let of = |follower: &Follower| (follower.group.clone(), follower.setting.clone(), follower.effect);
        let schedules: Vec<_> = self.schedules.iter().map(of).collect();
        format!("{groups:?} {options:?} {more:?} {sets:?} {schedules:?}")
    }
}

/// What each recipe has, one after the other.
fn together<'a, T: Clone + 'a>(all: &'a [Recipe], of: impl Fn(&'a Recipe) -> &'a PerLane<T>) -> PerLane<T> {
    all.iter().map(|recipe| of(recipe).of(0).clone()).collect::<Vec<T>>().into()
}

/// The same, of what all have or none.
fn optional<'a, T: Clone + 'a>(
    all: &'a [Recipe],
    of: impl Fn(&'a Recipe) -> Option<&'a PerLane<T>>,
) -> Result<Option<PerLane<T>>> {
    let found: Vec<T> = all.iter().filter_map(|recipe| of(recipe).map(|value| value.of(0).clone())).collect();
    match found.len() {
        0 => Ok(None),
        some if some == all.len() => Ok(Some(found.into())),
        _ => Err(Error::conflict("a recipe", "another one", "lanes differ in numbers alone")),
    }
}
