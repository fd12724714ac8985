//! The parameters that a sweep may search, and a training's settings at a point.

use super::groups::{self, GROUP};
use crate::Usage;
use crate::model::{Built, Description, MAX_WIDTH, ModelArgs, Nonlinearity, OfLanes, Size};
use crate::names;
use crate::recipe::{DEFAULT, OTHERS, RecipeArgs, recipe, rule_for};
use crate::score::Aim;
use crate::settings::{self, Pair, Scheduled};
use anyhow::Result;
use clap::ValueEnum;
use thalweg::data::Dataset;
use thalweg::plan::Storage;
use thalweg::sweep::{Coordinate, Domain, Parameter, Point, SearchSpace};
use thalweg::{AnyRule, Error, Recipe, range, rule_by_name};

/// The names besides the settings of rules.
const OWN: [&str; 13] = [
    "rule",
    "batch",
    "hidden",
    "layers",
    "activation",
    "clip_norm",
    "schedule",
    "dropout",
    "shift",
    "crop",
    "flip",
    "noise",
    GROUP,
];
/// The name for no schedule.
const NONE: &str = "none";

/// The settings of a training where the space has none.
#[derive(Debug, Clone)]
pub struct Base {
    pub recipe: RecipeArgs,
    pub model: ModelArgs,
    pub batch: usize,
    pub drop_last: bool,
}

/// All settings of a training but its data and seed.
#[derive(Debug)]
pub struct Settings {
    pub rule: Box<dyn AnyRule>,
    pub others: Option<Box<dyn AnyRule>>,
    pub clip_norm: Option<f64>,
    pub state: Storage,
    pub schedule: Option<Scheduled>,
    pub batch: usize,
    /// The model with what the point says of it.
    pub model: ModelArgs,
}

impl Settings {
    /// The model for rows of data like these; with numbers of each lane's own.
    pub fn built(&self, data: &Dataset, lanes: OfLanes) -> Result<(Description, Built)> {
        let description = self.model.description(data, Aim::outputs(data))?;
        let built = description.build(lanes)?;
        Ok((description, built))
    }

    /// The recipe of a training of so many steps, on which its schedule goes.
    pub fn recipe(&self, steps: u64) -> Result<Recipe> {
        let made = recipe(&*self.rule, self.others.as_deref(), self.clip_norm, self.state)?;
        let groups = std::iter::once((DEFAULT, &*self.rule)).chain(self.others.as_deref().map(|rule| (OTHERS, rule)));
        let groups: Vec<(&str, &dyn AnyRule)> = groups.collect();
        let epochs = usize::try_from(steps).unwrap_or(usize::MAX);
        Ok(crate::rates::scheduled(made, &groups, self.schedule.as_ref(), (steps, epochs))?.0)
    }
}

/// The space of these texts, with names and rules as Thalweg has them.
pub fn read(texts: &[String], base: &Base) -> Result<SearchSpace> {
    let wrong = |error: Error| Usage(format!("--space: {error}"));
    let mut parameters: Vec<Parameter> = Vec::new();
    for text in texts.iter().flat_map(|text| text.split(';')).filter(|text| !text.trim().is_empty()) {
        parameters.push(text.trim().parse().map_err(wrong)?);
    }
    let rules = rules_of(&mut parameters, base).map_err(wrong)?;
    let known = known(&rules, base).map_err(wrong)?;
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for parameter in &mut parameters {
        parameter.name = names::find("parameter", &parameter.name, &known, names::RULE_SETTINGS).map_err(wrong)?.into();
        if let Some(when) = &mut parameter.when {
            // An unknown name is kept: the space's own error lists its names.
            if let Ok(name) = names::find("parameter", &when.parameter, &known, names::RULE_SETTINGS) {
                when.parameter = name.into();
            }
        }
    }
    Ok(SearchSpace::new(parameters).map_err(wrong)?)
}

/// Replaces the names of rules in the space by Thalweg's names; returns the rules that trials may have.
fn rules_of(parameters: &mut [Parameter], base: &Base) -> thalweg::Result<Vec<String>> {
    let known = thalweg::rules();
    let known: Vec<&str> = known.iter().map(|rule| rule.name()).collect();
    let find = |value: &Coordinate| Ok(names::find("rule", &value.to_string(), &known, names::RULES)?.to_string());
    let mut rules = None;
    for parameter in parameters.iter_mut() {
        if parameter.name == "rule" {
            let values = match &mut parameter.domain {
                Domain::Choice(values) => values.as_mut_slice(),
                Domain::Fixed(value) => std::slice::from_mut(value),
                other => return Err(Error::setting("rule", other.to_string(), "choice:adam,sgd or fixed:adam")),
            };
            values.iter_mut().try_for_each(|value| find(value).map(|name| *value = name.into()))?;
            rules = Some(values.iter().map(Coordinate::to_string).collect());
        }
        if let Some(when) = parameter.when.as_mut().filter(|when| when.parameter == "rule") {
            when.values.iter_mut().try_for_each(|value| find(value).map(|name| *value = name.into()))?;
        }
    }
    match rules {
        Some(rules) => Ok(rules),
        None => Ok(vec![find(&Coordinate::Text(base.recipe.rule.clone()))?]),
    }
}

/// The names that a space with these rules may have.
fn known(rules: &[String], base: &Base) -> thalweg::Result<Vec<String>> {
    let mut known: Vec<String> = OWN.iter().map(ToString::to_string).collect();
    let mut add = |name: String| {
        if !known.contains(&name) {
            known.push(name);
        }
    };
    for mut rule in rules.iter().filter_map(|name| rule_by_name(name).ok()) {
        rule.settings().into_iter().for_each(|(name, _)| add(name.into()));
        if let Some(others) = groups::others(base.recipe.others.as_ref(), &*rule) {
            groups::parameters(&others)?.into_iter().for_each(&mut add);
        }
    }
    Ok(known)
}

/// Memory of a lane.
pub struct LaneBytes {
    pub all: u128,
    /// Its largest single buffer.
    pub buffer: u128,
}

impl Base {
    /// The settings of a training at a point.
    ///
    /// # Errors
    /// The library's error for a wrong value.
    pub fn settings(&self, point: &Point) -> thalweg::Result<Settings> {
        let text = |name: &str| point.get(name).map(Coordinate::to_string);
        let number = |name: &str| {
            let number = |value: &Coordinate| value.as_f64().ok_or_else(|| Error::setting(name, value, "a number"));
            point.get(name).map(number).transpose()
        };
        let rule = text("rule").unwrap_or_else(|| self.recipe.rule.clone());
        let rule = rule_for(&self.model, &rule, &self.pairs(point))?;
        groups::check(point)?;
        let others = self.others(point, &*rule);
        let others = others.map(|Scheduled { name, settings }| settings::rule(&name, &settings)).transpose()?;
        let clip_norm = number("clip_norm")?.or(self.recipe.clip_norm);
        clip_norm.map_or(Ok(()), |norm| range::positive("clip_norm", norm))?;
        let dropout = number("dropout")?;
        range::fraction("dropout", dropout.unwrap_or(0.0))?;
        let activation = text("activation").map(|name| activation(&name)).transpose()?;
        let model = ModelArgs {
            hidden: self.hidden(point)?,
            activation: activation.or(self.model.activation),
            dropout: dropout.or(self.model.dropout),
            augment: self.model.augment.with(number)?,
            ..self.model.clone()
        };
        Ok(Settings {
            rule,
            others,
            clip_norm,
            state: self.recipe.state,
            schedule: self.schedule(text("schedule"))?,
            batch: point.get("batch").map_or(Ok(self.batch), |value| whole("batch", value, u64::MAX))?,
            model,
        })
    }

    /// The options of `train` for the settings of a point; none where these cannot be.
    pub fn arguments(&self, point: &Point) -> Option<Vec<String>> {
        let settings = self.settings(point).ok()?;
        let mut arguments = vec![format!("--rule={}", settings.rule.name())];
        arguments.extend(self.pairs(point).iter().map(|Pair { key, value }| format!("--set={key}={value}")));
        let others =
            self.others(point, &*settings.rule).filter(|others| self.recipe.others.is_some() || !others.settings.is_empty());
        arguments.extend(others.map(|others| format!("--others={others}")));
        // A model has a schedule of its own where none is given.
        let schedule = settings.schedule.map_or_else(|| "constant".into(), |schedule| schedule.to_string());
        let says = schedule != "constant" || settings.model.schedule().is_some();
        arguments.extend(says.then(|| format!("--schedule={schedule}")));
        arguments.extend(settings.clip_norm.map(|norm| format!("--clip-norm={norm}")));
        arguments.extend((settings.state != Storage::F32).then(|| format!("--state={}", settings.state.name())));
        arguments.extend(settings.model.arguments());
        arguments.push(format!("--batch={}", settings.batch));
        arguments.extend(self.drop_last.then(|| "--drop-last".into()));
        Some(arguments)
    }

    /// The settings of the rule: those that were given, and those of the point.
    fn pairs(&self, point: &Point) -> Vec<Pair> {
        let own = |name| (!OWN.contains(&name) && groups::setting(name).is_none()).then_some(name);
        groups::together(self.recipe.pairs(), groups::searched(point, own))
    }

    /// The rule of the other tensors, with what is given and what the point says.
    fn others(&self, point: &Point, rule: &dyn AnyRule) -> Option<Scheduled> {
        let others = groups::others(self.recipe.others.as_ref(), rule)?;
        let settings = groups::together(others.settings, groups::searched(point, groups::setting));
        Some(Scheduled { settings, ..others })
    }

    /// Widths of the hidden layers: as they were given, or a width that all layers have.
    fn hidden(&self, point: &Point) -> thalweg::Result<Option<Vec<usize>>> {
        let given = |name: &str| point.get(name).map(|value| whole(name, value, MAX_WIDTH)).transpose();
        let (width, layers) = (given("hidden")?, given("layers")?);
        match (width, layers) {
            (None, None) => Ok(self.model.hidden.clone()),
            (Some(width), layers) => Ok(Some(vec![width; layers.unwrap_or(1)])),
            (None, Some(layers)) => {
                let hidden = self.model.hidden();
                let first = hidden.first().copied().unwrap_or(1);
                let allowed = "with --hidden N, the width of each of them, or with hidden in the space";
                let same = hidden.iter().all(|&width| width == first);
                range::require(same, "layers", layers, allowed)?;
                Ok(Some(vec![first; layers]))
            }
        }
    }

    /// The schedule of a trial: that of the space, with settings after colons, or that of the options.
    fn schedule(&self, searched: Option<String>) -> thalweg::Result<Option<Scheduled>> {
        let given = match searched {
            Some(text) if text == NONE => None,
            Some(text) => {
                let wrong = |reason: String| Error::setting("schedule", &text, &reason);
                Some(text.replace(':', ",").parse::<Scheduled>().map_err(wrong)?)
            }
            None => self.recipe.schedule.clone().or_else(|| self.model.schedule()),
        };
        let Some(named) = given.map(Scheduled::named).transpose()? else { return Ok(None) };
        let allowed = "one that goes by steps: trials are compared, and a plateau would move each at another time";
        range::require(!named.is_plateau(), "schedule", &named.name, allowed)?;
        Ok(Some(named))
    }

    /// Checks every value of the space, alone and with every rule. `steps` are those of a whole training.
    pub fn check(&self, space: &SearchSpace, steps: u64) -> Result<()> {
        self.check_twice(space)?;
        space.parameters().iter().try_for_each(|parameter| self.check_setting(space, parameter))?;
        for parameter in space.parameters() {
            for point in points(space, parameter) {
                let wrong = |error: anyhow::Error| Usage(format!("at {point}: {error:#}"));
                let settings = self.settings(&point).map_err(|error| wrong(error.into()))?;
                settings.model.check().map_err(wrong)?;
                settings.recipe(steps).map_err(wrong)?;
            }
        }
        Ok(())
    }

    /// Refuses a setting that is both given and searched, unless it is searched under a condition.
    fn check_twice(&self, space: &SearchSpace) -> Result<()> {
        let given = self.recipe.pairs().into_iter().map(|pair| pair.key);
        let given = given.chain(self.recipe.clip_norm.map(|_| "clip_norm".into()));
        let given = given.chain(self.recipe.schedule.as_ref().map(|_| "schedule".into()));
        let given = given.chain(self.model.dropout.map(|_| "dropout".into()));
        let given = given.chain(self.model.augment.given().map(|(name, _)| name.into()));
        let of_others = self.recipe.others.iter().flat_map(|others| &others.settings);
        let given = given.chain(of_others.map(|pair| format!("{OTHERS}.{}", pair.key)));
        let always = space.parameters().iter().filter(|parameter| parameter.when.is_none());
        let known: Vec<&str> = always.map(|parameter| &*parameter.name).collect();
        for key in given {
            if let Ok(name) = names::find("setting", &key, &known, names::RULE_SETTINGS) {
                return Err(
                    Usage(format!("{name} is given as an option and searched by --space; leave one of them out")).into()
                );
            }
        }
        Ok(())
    }

    /// Refuses a setting that may exist without a rule that has it.
    fn check_setting(&self, space: &SearchSpace, parameter: &Parameter) -> Result<()> {
        let name = &*parameter.name;
        if OWN.contains(&name) || groups::setting(name).is_some() {
            return Ok(());
        }
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for point in points(space, parameter) {
            let rule = point.get("rule").map_or_else(|| self.recipe.rule.clone(), Coordinate::to_string);
            let known: Vec<&str> = thalweg::rules().iter().map(|rule| rule.name()).collect();
            let mut made = rule_by_name(names::find("rule", &rule, &known, names::RULES)?)?;
            let has = made.settings().into_iter().any(|(own, _)| own == name);
            let list = if has { &mut with } else { &mut without };
            if !list.contains(&rule) {
                list.push(rule);
            }
        }
        if without.is_empty() {
            return Ok(());
        }
        let (without, with) = (without.join(", "), with.join(","));
        let hint = format!("'{name}={} if rule={with}'", parameter.domain);
        Err(Usage(format!("{name} is no setting of {without}; say where it exists: {hint}")).into())
    }

    /// What a lane of the largest model takes.
    pub fn lane_bytes(&self, space: &SearchSpace, data: &Dataset) -> Result<LaneBytes> {
        let mut most = LaneBytes { all: 0, buffer: 0 };
        for point in space.parameters().iter().flat_map(|parameter| points(space, parameter)) {
            let settings = self.settings(&point)?;
            let (description, built) = settings.built(data, OfLanes::default())?;
            let size = Size::of(&description, &built, &*settings.rule, settings.batch.min(data.rows()), None)?;
            most = LaneBytes { all: most.all.max(size.bytes), buffer: most.buffer.max(size.buffer) };
        }
        Ok(most)
    }

    /// Refuses the largest model of the space if it does not fit into memory with the data.
    pub fn check_memory(&self, space: &SearchSpace, data: &Dataset, cells: usize, limit: Option<u64>) -> Result<()> {
        for point in space.parameters().iter().flat_map(|parameter| points(space, parameter)) {
            let settings = self.settings(&point)?;
            let (description, built) = settings.built(data, OfLanes::default())?;
            let size = Size::of(&description, &built, &*settings.rule, settings.batch.min(data.rows()), limit)?;
            size.check(&settings.model.options(), &*settings.rule, cells, limit)?;
        }
        Ok(())
    }
}

/// Points in which the parameter has each of its values, or both ends of its range, with every rule under which it exists.
fn points(space: &SearchSpace, parameter: &Parameter) -> Vec<Point> {
    let values = match &parameter.domain {
        Domain::Choice(values) => values.clone(),
        Domain::Fixed(value) => vec![value.clone()],
        domain => vec![domain.at(0.0), domain.at(1.0)],
    };
    let mut begun: Vec<Point> = values.into_iter().map(|value| Point::new().with(&parameter.name, value)).collect();
    // Follows the chain of conditions.
    let mut inner = parameter;
    while let Some(when) = &inner.when {
        let with = |point: &Point| when.values.iter().map(|value| point.clone().with(&when.parameter, value.clone())).collect();
        begun = begun.iter().flat_map(|point| -> Vec<Point> { with(point) }).collect();
        match space.parameter(&when.parameter) {
            Ok(outer) => inner = outer,
            Err(_) => break,
        }
    }
    if let (Ok(Domain::Choice(rules)), true) =
        (space.parameter("rule").map(|rule| &rule.domain), begun.iter().all(|point| point.get("rule").is_none()))
    {
        let with = |point: &Point| rules.iter().map(|rule| point.clone().with("rule", rule.clone())).collect::<Vec<_>>();
        begun = begun.iter().flat_map(with).collect();
    }
    let middle = |parameter: &Parameter| Ok(parameter.domain.at(0.5));
    begun.iter().filter_map(|point| space.complete(point, middle).ok()).collect()
}

fn whole(name: &str, value: &Coordinate, most: u64) -> thalweg::Result<usize> {
    let number = value.as_i64().and_then(|number| usize::try_from(number).ok());
    let fits = number.filter(|&number| number >= 1 && number as u64 <= most);
    fits.ok_or_else(|| Error::setting(name, value, &format!("a whole number from 1 to {most}")))
}

fn activation(name: &str) -> thalweg::Result<Nonlinearity> {
    Nonlinearity::from_str(name, true).map_err(|_| {
        let known: Vec<String> = Nonlinearity::value_variants().iter().map(super::args::chosen).collect();
        Error::unknown("activation", name, &known.iter().map(String::as_str).collect::<Vec<_>>())
    })
}

/// Values to try first: `lr=0.01,rule=adam`.
pub fn first(text: &str) -> Result<Point, String> {
    let crate::settings::Pairs(pairs) = text.parse()?;
    Ok(pairs.iter().fold(Point::new(), |point, pair| point.with(&pair.key, Coordinate::read(&pair.value))))
}

/// The parameters whose values may change in a copied lane: numbers of the rule, and the bound of its gradients.
pub fn movable(space: &SearchSpace) -> Vec<String> {
    let rules: Vec<Box<dyn AnyRule>> = thalweg::rules();
    let moves = |name: &str| {
        let is_number = |mut rule: Box<dyn AnyRule>| {
            rule.settings().into_iter().any(|(own, setting)| own == name && matches!(setting, thalweg::Setting::Number(_)))
        };
        rules.iter().any(|rule| is_number(rule.boxed()))
    };
    let free = |parameter: &&Parameter| parameter.domain.count() != Some(1) && moves(&parameter.name);
    space.parameters().iter().filter(free).map(|parameter| parameter.name.clone()).collect()
}
