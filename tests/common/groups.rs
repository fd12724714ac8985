//! Groups by number, for tests with several: the name of a tensor says its group.

use thalweg::{AnyRule, Recipe};

/// The names of the first groups.
pub const GROUPS: [&str; 3] = ["default", "group 1", "group 2"];

/// One rule per group. A tensor belongs to the first one, unless its name says another: see [`of_group`].
pub fn grouped(rules: impl IntoIterator<Item = impl Into<Box<dyn AnyRule>>>) -> Recipe {
    grouped_by(rules, |name| name.rsplit_once(" of group ").map_or(0, |(_, group)| group.parse().expect("a number")))
}

/// [`grouped`] by a function of the tensor's name.
pub fn grouped_by(
    rules: impl IntoIterator<Item = impl Into<Box<dyn AnyRule>>>,
    group: impl Fn(&str) -> usize + Copy + Send + Sync + 'static,
) -> Recipe {
    let mut rules = rules.into_iter().map(Into::into);
    let first: Box<dyn AnyRule> = rules.next().expect("a rule");
    let others = rules.zip(1..);
    others.fold(Recipe::new(first), |recipe, (rule, index)| {
        recipe.group(GROUPS[index], move |tensor| group(&tensor.name) == index, rule)
    })
}

/// The name of a tensor in a group.
pub fn of_group(name: &str, group: usize) -> String {
    if group == 0 { name.into() } else { format!("{name} of group {group}") }
}
