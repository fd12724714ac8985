//! Which recipes can be recorded.

use super::domain::Domain;
use super::follower::{Effect, Follower};
use super::kernels::kernel;
use super::modifier::{Average, Clip, Lookahead};
use super::recipe::Recipe;
use crate::error::{Error, Result, range};
use crate::plan::{Arena, LossScale, NormKind, PerLane, check_storage};
use crate::rule::{AnyRule, Decay, HyperRow, Layerwise, Setting, set};
use crate::schedule::Schedule;

impl Recipe {
    pub(super) fn check(&self, arena: &Arena) -> Result<()> {
        self.check_lanes()?;
        self.check_schedules()?;
        for (lane, group, rule) in self.rules() {
            rule.check()?;
            self.check_numbers(rule, lane, group)?;
        }
        self.check_kernels(arena)?;
        self.accumulation.map_or(Ok(()), |accumulation| accumulation.order.check())?;
        self.check_together(arena)?;
        self.check_part(arena)?;
        for groups in self.kernels() {
            self.check_kernel(&groups, arena)?;
        }
        self.check_decay(arena)?;
        if let Some(steps) = self.max_bad_steps {
            range::require(steps >= 1, "max_bad_steps", steps, "at least 1")?;
            if !self.guards() {
                return Err(Error::missing("max_bad_steps", "skip_bad in the recipe", "Recipe::skip_bad()"));
            }
        }
        self.rules().try_for_each(|(lane, group, rule)| self.check_first_row(rule, lane, group))
    }

    /// The schedule that sets a setting of a group, if one does.
    pub(super) fn setter(&self, group: &str, setting: &str) -> Option<&Follower> {
        let sets = |follower: &&Follower| follower.setting == setting && follower.effect == Effect::Set;
        self.schedules.iter().filter(|follower| follower.follows(group)).find(sets)
    }

    /// A rule with one number changed, if it stays the same kernel.
    pub(super) fn changed(&self, lane: usize, group: usize, setting: &str, value: f64) -> Result<Box<dyn AnyRule>> {
        let mut rule = self.rule(lane, group).boxed();
        self.check_setting(lane, group, setting, &value.to_string())?;
        set(&mut *rule, setting, &value.to_string())?;
        self.check_changed(lane, group, &*rule)?;
        Ok(rule)
    }

    /// Checks that a group of a lane may go on with the numbers of another rule.
    pub(super) fn check_change(&self, lane: usize, group: usize, rule: &dyn AnyRule) -> Result<()> {
        let old = self.rule(lane, group);
        let of_run = ("a change between steps", "the recorded plan");
        if rule.name() != old.name() {
            return Err(two_kernels(rule, old, of_run, "both need"));
        }
        let (mut new, mut known) = (rule.boxed(), old.boxed());
        for ((setting, mut value), (_, mut before)) in new.settings().into_iter().zip(known.settings()) {
            let (value, before) = (value.text().write(), before.text().write());
            if value != before {
                self.check_setting(lane, group, setting, &value)?;
            }
        }
        self.check_changed(lane, group, rule)
    }

    /// Checks that a setting may change between steps.
    fn check_setting(&self, lane: usize, group: usize, setting: &str, value: &str) -> Result<()> {
        let mut rule = self.rule(lane, group).boxed();
        let fixed = |(name, kind): &(&str, Setting)| *name == setting && matches!(kind, Setting::Fixed(_));
        let given = || format!("{setting} = {value}");
        if rule.settings().iter().any(fixed) {
            return Err(Error::conflict(given(), "a recorded plan", format!("{setting} is part of it")));
        }
        if rule.initial_settings().contains(&setting) {
            return Err(Error::conflict(given(), rule.name(), format!("only the start of a run uses {setting}")));
        }
        if let Some(follower) = self.setter(&self.groups[group].name, setting) {
            return Err(Error::conflict(given(), follower.name(), "the schedule sets it in every step"));
        }
        Ok(())
    }

    /// Checks that the settings of a changed rule are in their ranges, and that its kernel is the same.
    fn check_changed(&self, lane: usize, group: usize, rule: &dyn AnyRule) -> Result<()> {
        let old = self.rule(lane, group);
        rule.check()?;
        self.check_own_decay(rule)?;
        self.check_numbers(rule, lane, group)?;
        self.check_first_row(rule, lane, group)?;
        if kernel(rule) != kernel(old) {
            return Err(two_kernels(rule, old, ("a change between steps", "the recorded plan"), "both need"));
        }
        Ok(())
    }

    /// Checks that a rule's settings stay in their ranges all the way up to the bounds of their schedules.
    fn check_numbers(&self, rule: &dyn AnyRule, lane: usize, group: usize) -> Result<()> {
        let mut scheduled = self.scheduled(rule, lane, group)?;
        let highest = scheduled.at(&self.schedules, Schedule::bound);
        highest.check()?;
        let follows = |follower: &&Follower| follower.follows(&self.groups[group].name) && follower.effect == Effect::Set;
        for follower in self.schedules.iter().filter(follows) {
            let bound = follower.schedules.of(lane).bound();
            if bound == 0.0 {
                continue;
            }
            let mut set = rule.boxed();
            let sets = set.settings().into_iter().any(|(name, setting)| match setting {
                Setting::Number(number) if name == follower.setting => {
                    *number = bound;
                    true
                }
                _ => false,
            });
            if sets && kernel(&*set) != kernel(rule) {
                let with = format!("a {} that starts with {} = 0", rule.name(), follower.setting);
                return Err(Error::conflict(
                    follower.name(),
                    with,
                    "it would need another kernel: give the rule a value above 0",
                ));
            }
        }
        Ok(())
    }

    /// Checks that the numbers of a rule's first step fit a row. Numbers that follow a schedule are checked step by step.
    fn check_first_row(&self, rule: &dyn AnyRule, lane: usize, group: usize) -> Result<()> {
        let mut scheduled = self.scheduled(rule, lane, group)?;
        if scheduled.changes() { Ok(()) } else { self.row(&mut scheduled, 1).1 }
    }

    fn check_schedules(&self) -> Result<()> {
        for (index, follower) in self.schedules.iter().enumerate() {
            follower.schedules.check_lanes(&follower.name(), self.lanes())?;
            let mut schedules = follower.schedules.values().iter();
            schedules.try_for_each(Schedule::check).map_err(|error| error.of(&follower.name()))?;
            follower.group.as_ref().map_or(Ok(0), |group| self.group_named(group))?;
            if let Some(earlier) = self.schedules[..index].iter().find(|earlier| earlier.meets(follower)) {
                let reason = "a setting follows one schedule, which may be a product or a sequence of several";
                return Err(Error::conflict(follower.name(), earlier.name(), reason));
            }
            if follower.bounds() {
                self.check_bound(follower)?;
            }
        }
        Ok(())
    }

    /// Checks that a schedule of a bound (`clip`) has a bound to set.
    fn check_bound(&self, follower: &Follower) -> Result<()> {
        let conflict = |with: &str, reason: &str| Err(Error::conflict(follower.name(), with, reason));
        let infinite = self.clip_sets.iter().all(|set| set.max.each().all(|max| max == f64::INFINITY));
        let only_measures = |clip| matches!(clip, Clip::Norm { max: f64::INFINITY, .. });
        let measured = self.clips.iter().flat_map(PerLane::each).all(only_measures);
        match self.clip_kind() {
            None if self.clip_sets.is_empty() => return conflict("a recipe without clip", "there is no bound"),
            Some(Clip::Normalise(_)) => return conflict("a clip that normalises", "it has no bound"),
            Some(Clip::Norm { .. }) if follower.effect == Effect::Scale && measured && infinite => {
                return conflict("a bound of infinity", "it only measures the norm");
            }
            _ => {}
        }
        let own = self.groups.iter().find(|group| follower.group.as_ref() == Some(&group.name)).map(|group| group.domain);
        let sharing = self.groups.iter().filter(|group| Some(group.domain) == own).count();
        match own {
            Some(Domain::Global) if self.clips_norm() && sharing > 1 => {
                conflict("a clip of the global norm", "all groups share it")
            }
            Some(Domain::Set(_)) if sharing > 1 => conflict("a clip of a set of groups", "they share it"),
            Some(Domain::Outside) => conflict("a group outside the global norm", "it has no bound"),
            _ => Ok(()),
        }
    }

    /// Checks that no rule has a weight decay beside the recipe's.
    fn check_decay(&self, arena: &Arena) -> Result<()> {
        let Some(decays) = &self.decay else { return Ok(()) };
        let is_coupled = |decay| matches!(decay, Decay::Coupled(_));
        let (coupled, decoupled) = (decays.each().any(is_coupled), !decays.each().all(is_coupled));
        for (_, _, rule) in self.rules() {
            let name = rule.name();
            self.check_own_decay(rule)?;
            if rule.averages() && decoupled {
                let reason = format!("{name} averages by itself, so that its decay has to be coupled");
                return Err(Error::conflict("a decoupled weight decay of the recipe", name, reason));
            }
        }
        for groups in self.kernels() {
            if self.factors(&groups, arena) && coupled {
                let reason = "the means of rows and columns are those of the gradient alone";
                let with = format!("matrices under {}", self.rule(0, groups[0]).name());
                return Err(Error::conflict("a coupled weight decay of the recipe", with, reason));
            }
        }
        Ok(())
    }

    /// Checks that a rule has no weight decay beside the recipe's. It is the only condition that concerns numbers of a rule and
    /// of the recipe together.
    fn check_own_decay(&self, rule: &dyn AnyRule) -> Result<()> {
        if self.decay.is_none() {
            return Ok(());
        }
        let name = rule.name();
        for (setting, value) in rule.boxed().settings() {
            if let Setting::Number(own) = value
                && setting.ends_with("weight_decay")
                && *own != 0.0
            {
                let reason = format!("the decay would count twice: set {setting} to 0");
                let with = format!("{setting} = {own} in {name}");
                return Err(Error::conflict("a weight decay of the recipe", with, reason));
            }
        }
        Ok(())
    }

    /// Checks the modifiers: one for all lanes or one for each, in its range, and the same in all lanes but for numbers.
    fn check_lanes(&self) -> Result<()> {
        let lanes = self.lanes();
        let wide = |max: f64| if max == f64::INFINITY { Ok(()) } else { range::positive("clip_norm_of", max) };
        checked("clip", self.clips.as_ref(), lanes, Clip::check)?;
        self.clip_sets.iter().try_for_each(|set| checked("clip_norm_of", Some(&set.max), lanes, wide))?;
        checked("average", self.average.as_ref(), lanes, Average::check)?;
        checked("lookahead", self.lookahead.as_ref(), lanes, Lookahead::check)?;
        checked("weight_decay", self.decay.as_ref(), lanes, check_range)?;
        checked("grad_scale", Some(&self.grad_scale), lanes, |scale| range::positive("grad_scale", scale))?;
        checked("l1", Some(&self.l1), lanes, |l1| range::not_negative("l1", l1))?;
        checked("loss_scale", self.loss_scale.as_ref(), lanes, |rule| check_loss_scale(&rule))?;
        checked("sam", self.rho.as_ref(), lanes, |rho| range::positive("sam.rho", rho))?;
        let Some(clips) = &self.clips else { return Ok(()) };
        let Some(lane) = clips.each().position(|clip| !clip.is_like(*clips.of(0))) else { return Ok(()) };
        let (what, with) = (format!("{:?} in lane {lane}", clips.of(lane)), format!("{:?} in lane 0", clips.of(0)));
        Err(Error::conflict(what, with, "all lanes share one kernel"))
    }

    /// Checks that lanes differ only in numbers, and that rules can take their tensors.
    fn check_kernels(&self, arena: &Arena) -> Result<()> {
        for group in &self.groups {
            let first = &group.rules[0];
            for (lane, rule) in group.rules.iter().enumerate() {
                if kernel(&**rule) != kernel(&**first) || rule.orthogonal() != first.orthogonal() {
                    let share = format!("all lanes of group '{}' share", group.name);
                    return Err(two_kernels(&**rule, &**first, (&format!("lane {lane}"), "lane 0"), &share));
                }
            }
        }
        for tensor in arena.tensors() {
            let rule = self.rule(0, tensor.group);
            if rule.orthogonal().is_some() && tensor.shape.len() != 2 {
                let what = format!("tensor '{}' under {}", tensor.name, rule.name());
                return Err(Error::shape(
                    what,
                    "a matrix (other tensors want a group with another rule)",
                    format!("shape {:?}", tensor.shape),
                ));
            }
        }
        Ok(())
    }

    /// Settings of the recipe that have no meaning together.
    fn check_together(&self, arena: &Arena) -> Result<()> {
        let matrices = arena.tensors().iter().any(|tensor| tensor.shape.len() >= 2);
        let other_norm = self.clip_kind().is_some_and(|clip| clip.kind() != NormKind::L2);
        let drops = self.accumulation.is_some_and(|accumulation| accumulation.drop_bad);
        let maximizes = |rule: &dyn AnyRule| rule.hyper_row(1).0[HyperRow::SCALE] < 0.0;
        let mixed = self.rules().any(|(_, _, other)| maximizes(other) != maximizes(self.rule(0, 0)));
        let other = "a clip by another norm than L2";
        for (meaningless, what, with, reason) in [
            (self.rho.is_some() && self.accumulation.is_some(), "sam", "accumulate", "each wants the gradients before a step"),
            (self.rho.is_some() && self.half.is_some(), "half_copy", "sam", "the copy would not follow the ascents"),
            (self.rho.is_some() && mixed, "sam", "rules of which some maximize", "the ascent has one direction"),
            (drops && self.loss_scale.is_some(), "drop_bad", "loss_scale", "the scale has to see bad gradients"),
            (
                self.centralise && !matrices,
                "centralise",
                "tensors of less than two dimensions",
                "there are no lines to take the mean of",
            ),
            (self.inspect && self.norm() != Some(NormKind::L2), "inspect", other, "its reports are made of L2 norms"),
            (!self.clip_sets.is_empty() && other_norm, "clip_norm_of", other, "all sets have the same kind of norm"),
        ] {
            if meaningless {
                return Err(Error::conflict(what, with, reason));
            }
        }
        Ok(())
    }

    /// Settings of the recipe that have no meaning with the rule of these groups.
    fn check_kernel(&self, groups: &[usize], arena: &Arena) -> Result<()> {
        let rule = self.rule(0, groups[0]);
        let name = rule.name();
        let layerwise = rule.layerwise() != Layerwise::No;
        let measures = rule.layerwise() == Layerwise::Before;
        let clips_elements = matches!(self.clip_kind(), Some(Clip::Value(_)));
        let other_norm = self.clip_kind().is_some_and(|clip| clip.kind() != NormKind::L2);
        let by_tensor = self.bounds_tensors();
        let factored = self.factors(groups, arena);
        let averages = self.average.is_some() || self.lookahead.is_some();
        let by_matrices = format!("matrices under {name}");
        let own = || name.to_string();
        for (meaningless, what, with, reason) in [
            (measures && clips_elements, "clip_value", own(), "it takes norms before the bound"),
            (measures && other_norm, "a clip by another norm than L2", own(), "it shares the norm"),
            (layerwise && self.cautious, "cautious", own(), "it has a direction of its own"),
            (factored && clips_elements, "clip_value", by_matrices.clone(), "their means are taken before the bound"),
            (factored && by_tensor, "clip_tensor", by_matrices.clone(), "the rule bounds their step itself"),
            (factored && self.l1.each().any(|l1| l1 != 0.0), "l1", by_matrices, "their means are those of the gradient alone"),
            (self.cautious && !rule.shifts(), "cautious", own(), "its step depends on where the parameters are"),
            (averages && rule.averages(), "average or lookahead", own(), "it averages by itself"),
        ] {
            if meaningless {
                return Err(Error::conflict(what, with, reason));
            }
        }
        let planes = if factored { Vec::new() } else { rule.planes() };
        planes.into_iter().try_for_each(|plane| check_storage(rule, plane, self.state))
    }
}

/// Which settings make two kernels of two rules where there has to be one; `of` and `than` say whose the rules are.
fn two_kernels(rule: &dyn AnyRule, other: &dyn AnyRule, (of, than): (&str, &str), who: &str) -> Error {
    let reason = format!("{who} one kernel");
    if rule.name() != other.name() {
        return Error::conflict(format!("{} in {of}", rule.name()), format!("{} in {than}", other.name()), reason);
    }
    let (mut left, mut right) = (rule.boxed(), other.boxed());
    let names: Vec<&str> = left.settings().iter().map(|(name, _)| *name).collect();
    let text = |rule: &mut Box<dyn AnyRule>, at: usize| rule.settings()[at].1.text().write();
    // A setting makes a difference if the other's value alone changes the kernel.
    let differs = |&at: &usize| {
        let mut tried = other.boxed();
        let value = rule.boxed().settings()[at].1.text().write();
        let _ = tried.settings()[at].1.text().read(&value);
        kernel(&*tried) != kernel(other) || tried.orthogonal() != other.orthogonal()
    };
    let makes: Vec<usize> = (0..names.len()).filter(differs).collect();
    let said = |rule: &mut Box<dyn AnyRule>| {
        let settings: Vec<String> = makes.iter().map(|&at| format!("{} = {}", names[at], text(rule, at))).collect();
        settings.join(", ")
    };
    let (what, with) = (said(&mut left), said(&mut right));
    Error::conflict(format!("{what} in {of}"), format!("{with} in {than}"), reason)
}

/// Checks that values are as many as they have to be, and each is in its range.
fn checked<T: Copy>(what: &str, values: Option<&PerLane<T>>, lanes: usize, check: impl Fn(T) -> Result<()>) -> Result<()> {
    let Some(values) = values else { return Ok(()) };
    values.check_lanes(what, lanes)?;
    values.each().try_for_each(check)
}

fn check_range(decay: Decay) -> Result<()> {
    match decay {
        Decay::Coupled(lambda) | Decay::Decoupled(lambda) => range::not_negative("weight_decay", lambda),
        Decay::Independent(lambda) => range::fraction("weight_decay", lambda),
    }
}

fn check_loss_scale(rule: &LossScale) -> Result<()> {
    let &LossScale { init, growth, backoff, min, interval } = rule;
    range::positive("loss_scale.init", init)?;
    range::require(min.is_finite() && (0.0..=f32::MAX.into()).contains(&min), "loss_scale.min", min, "from 0 to 3.4e38")?;
    range::require(growth.is_finite() && growth > 1.0, "loss_scale.growth", growth, "finite and above 1")?;
    range::require(backoff > 0.0 && backoff < 1.0, "loss_scale.backoff", backoff, "above 0 and below 1")?;
    range::require(interval > 0, "loss_scale.interval", interval, "at least 1")
}
