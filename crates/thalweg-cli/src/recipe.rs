//! The recipe of a step: the options for the rule and its modifiers.

use crate::Usage;
use crate::model::ModelArgs;
use crate::names;
use crate::numbers::real;
use crate::settings::{self, Pair, Pairs, Scheduled};
use anyhow::Result;
use thalweg::plan::Storage;
use thalweg::{AdamW, AnyRule, Recipe, Select, range};

/// The options of a recipe.
#[derive(Debug, Clone, clap::Args)]
pub struct RecipeArgs {
    #[arg(long, alias = "optimizer", value_name = "NAME", default_value = "adamw", help = rules())]
    pub rule: String,

    /// Settings of the rule, such as `beta1=0.8,eps=1e-7`; `thalweg rules NAME` lists names and defaults; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE,…")]
    pub settings: Vec<Pairs>,

    /// Another rule for vectors (the biases) and its settings, such as `adamw,weight_decay=0` [default: the rule of --rule, or
    /// AdamW if that one is for matrices only]
    #[arg(long, value_name = "NAME[,KEY=VALUE…]")]
    pub others: Option<Scheduled>,

    /// Learning rate, short for --set lr=X [default: the rule's own; 0.002 for adam and adamw on a cnn]
    #[arg(long, aliases = ["learning-rate", "learning_rate"], value_name = "X", value_parser = real, allow_negative_numbers = true)]
    pub lr: Option<f64>,

    /// Weight decay, short for --set weight_decay=X [default: the rule's own]
    #[arg(long, aliases = ["weight_decay", "wd"], value_name = "X", value_parser = real, allow_negative_numbers = true)]
    pub weight_decay: Option<f64>,

    /// A factor on the learning rate that changes with the step, such as `cosine` or `one_cycle,pct_start=0.2`. Lengths that
    /// are not given follow from the run: `steps` is all of it after a warm-up, `decay` of wsd a fifth, `up` of cyclic a
    /// quarter. `plateau` follows the loss on the test data instead. `thalweg schedules` lists them [default: none]
    #[arg(long, value_name = "NAME[,KEY=VALUE…]")]
    pub schedule: Option<Scheduled>,

    /// Scale gradients down to this global norm [default: no clipping]
    #[arg(long, value_name = "X", value_parser = real, allow_negative_numbers = true)]
    pub clip_norm: Option<f64>,

    /// The type of the rule's state: f32, or bf16, which takes half of the memory
    #[arg(long, value_name = "f32|bf16", value_parser = storage, default_value = "f32")]
    pub state: Storage,
}

/// What --state takes.
fn storage(text: &str) -> Result<Storage, String> {
    match text.parse() {
        Ok(storage @ (Storage::F32 | Storage::Bf16)) => Ok(storage),
        _ => Err("f32 or bf16 expected".into()),
    }
}

/// The groups of a recipe: that of --rule, and that of vectors if they have a rule of their own.
pub const DEFAULT: &str = "default";
pub const OTHERS: &str = "others";

impl RecipeArgs {
    /// The settings of the rule, first those with an option of their own.
    pub fn pairs(&self) -> Vec<Pair> {
        let short = [("lr", self.lr), ("weight_decay", self.weight_decay)];
        let pair = |(key, value): (&str, Option<f64>)| value.map(|x| Pair { key: key.into(), value: x.to_string() });
        short.into_iter().filter_map(pair).chain(self.settings.iter().flat_map(|pairs| pairs.0.clone())).collect()
    }

    /// The rule with the given settings. Any mistake in them is wrong usage.
    pub fn rule(&self, model: &ModelArgs) -> Result<Box<dyn AnyRule>> {
        rule_for(model, &self.rule, &self.pairs()).map_err(|error| Usage(error.to_string()).into())
    }

    /// The rule of vectors, if it is not that of matrices.
    pub fn others(&self, rule: &dyn AnyRule) -> Result<Option<Box<dyn AnyRule>>> {
        match &self.others {
            Some(Scheduled { name, settings }) => {
                Ok(Some(settings::rule(name, settings).map_err(|error| Usage(error.to_string()))?))
            }
            None => Ok(rule.orthogonal().map(|_| AdamW::default().into())),
        }
    }
}

/// The rule of that name with the given settings; where they have no rate, it is that of the model, if it has one for the rule.
pub fn rule_for(model: &ModelArgs, name: &str, settings: &[Pair]) -> thalweg::Result<Box<dyn AnyRule>> {
    let mut rule = settings::rule(name, settings)?;
    let is_rate = |pair: &Pair| names::find("setting", &pair.key, &["lr"], names::RULE_SETTINGS).is_ok();
    if let Some(rate) = model.rate(rule.name())
        && !settings.iter().any(is_rate)
    {
        thalweg::set(&mut *rule, "lr", &rate.to_string())?;
    }
    Ok(rule)
}

/// The recipe of these rules and modifiers.
pub fn recipe(rule: &dyn AnyRule, others: Option<&dyn AnyRule>, clip_norm: Option<f64>, state: Storage) -> Result<Recipe> {
    let mut recipe = Recipe::new(rule.boxed()).state(state);
    if let Some(others) = others {
        recipe = recipe.group_of(OTHERS, Select::Below(2), others.boxed());
    }
    let Some(norm) = clip_norm else { return Ok(recipe) };
    range::positive("clip_norm", norm).map_err(|error| Usage(error.to_string()))?;
    Ok(recipe.clip_norm(norm))
}

/// The help on `--rule`.
fn rules() -> String {
    let names: Vec<&str> = thalweg::rules().iter().map(|rule| rule.name()).collect();
    format!("The update rule: {}", names.join(", "))
}
