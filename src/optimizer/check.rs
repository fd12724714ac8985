//! Which recipes can be recorded.

use super::modifier::{Average, Clip, Lookahead};
use super::recipe::{Effect, Follower, Recipe};
use crate::error::{Error, Result, range};
use crate::plan::{Arena, LossScale, NormKind};
use crate::rule::{AnyRule, Decay, Layerwise, Row, Setting, set};
use crate::schedule::Schedule;

impl Recipe {
    pub(super) fn check(&self, arena: &Arena) -> Result<()> {
        let first = self.rule(0, 0);
        self.check_schedules()?;
        for (group, rule) in self.rules() {
            rule.check()?;
            self.check_numbers(rule, group)?;
            if kernel(rule) != kernel(first) {
                return Err(Error::shape("a rule of the population", kernel(first), kernel(rule)));
            }
        }
        for (group, rule) in self.rules() {
            let first = self.rule(0, group);
            if rule.orthogonal() != first.orthogonal() {
                return Err(Error::shape("a lane's rule", format!("{first:?}"), format!("{rule:?}")));
            }
        }
        self.clip.map_or(Ok(()), Clip::check)?;
        self.average.map_or(Ok(()), Average::check)?;
        self.lookahead.map_or(Ok(()), Lookahead::check)?;
        self.rho.map_or(Ok(()), |rho| range::positive("sam.rho", rho))?;
        self.check_together(first, arena)?;
        range::positive("grad_scale", self.grad_scale)?;
        range::not_negative("l1", self.l1)?;
        self.check_decay(arena)?;
        self.loss_scale.as_ref().map_or(Ok(()), check_loss_scale)?;
        if let Some(steps) = self.max_bad_steps {
            range::require(steps >= 1, "max_bad_steps", steps, "at least 1")?;
            range::require(self.guards(), "max_bad_steps", "given", "only where bad steps are skipped")?;
        }
        self.rules().try_for_each(|(group, rule)| self.check_first_row(rule, group))
    }

    /// A rule with one number changed, if it stays the same kernel.
    pub(super) fn changed(&self, lane: usize, group: usize, setting: &str, value: f64) -> Result<Box<dyn AnyRule>> {
        let old = self.rule(lane, group);
        let mut rule = old.boxed();
        let fixed = |(name, kind): &(&str, Setting)| *name == setting && matches!(kind, Setting::Fixed(_));
        range::require(!rule.settings().iter().any(fixed), setting, value, "as it was recorded")?;
        let starts = rule.initial_settings().contains(&setting);
        let allowed = format!("as it was at the start of the run, which alone uses it in {}", rule.name());
        range::require(!starts, setting, value, &allowed)?;
        let sets = |follower: &&Follower| follower.setting == setting && follower.effect == Effect::Set;
        if let Some(follower) = self.schedules.iter().filter(|follower| follower.follows(&self.groups[group].name)).find(sets) {
            return Err(Error::conflict(format!("{setting} = {value}"), follower.name(), "the schedule sets it in every step"));
        }
        set(&mut *rule, setting, &value.to_string())?;
        rule.check()?;
        self.check_numbers(&*rule, group)?;
        self.check_first_row(&*rule, group)?;
        if kernel(&*rule) != kernel(old) {
            return Err(Error::shape(format!("the kernel with {setting} = {value}"), kernel(old), kernel(&*rule)));
        }
        Ok(rule)
    }

    /// That a rule's settings stay in their ranges all the way up to the bounds of their schedules.
    fn check_numbers(&self, rule: &dyn AnyRule, group: usize) -> Result<()> {
        let mut scheduled = self.scheduled(rule, group)?;
        let highest = scheduled.at(&self.schedules, Schedule::bound);
        highest.check()?;
        let follows = |follower: &&Follower| follower.follows(&self.groups[group].name) && follower.effect == Effect::Set;
        for follower in self.schedules.iter().filter(follows).filter(|follower| follower.schedule.bound() != 0.0) {
            let mut set = rule.boxed();
            let sets = set.settings().into_iter().any(|(name, setting)| match setting {
                Setting::Number(number) if name == follower.setting => {
                    *number = follower.schedule.bound();
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

    /// That the numbers of a rule's first step fit a row. What a schedule makes of them is seen step by step.
    fn check_first_row(&self, rule: &dyn AnyRule, group: usize) -> Result<()> {
        let mut scheduled = self.scheduled(rule, group)?;
        if scheduled.changes() { Ok(()) } else { self.row(&mut scheduled, group, 1).1 }
    }

    fn check_schedules(&self) -> Result<()> {
        for (index, follower) in self.schedules.iter().enumerate() {
            follower.schedule.check().map_err(|error| error.of(&follower.name()))?;
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

    /// That there is a bound for the schedule of one.
    fn check_bound(&self, follower: &Follower) -> Result<()> {
        let conflict = |with: &str, reason: &str| Err(Error::conflict(follower.name(), with, reason));
        match self.clip {
            None => conflict("a recipe without clip", "there is no bound"),
            Some(Clip::Normalise(_)) => conflict("a clip that normalises", "it has no bound"),
            Some(Clip::Norm { max, .. }) if follower.effect == Effect::Scale && max == f64::INFINITY => {
                conflict("a bound of infinity", "it only measures the norm")
            }
            Some(Clip::Norm { .. }) if follower.group.is_some() => conflict("a clip of the global norm", "all groups share it"),
            Some(_) => Ok(()),
        }
    }

    /// The range of the recipe's weight decay, and that no rule has one besides.
    fn check_decay(&self, arena: &Arena) -> Result<()> {
        let Some(decay) = self.decay else { return Ok(()) };
        match decay {
            Decay::Coupled(lambda) | Decay::Decoupled(lambda) => range::not_negative("weight_decay", lambda)?,
            Decay::Independent(lambda) => range::fraction("weight_decay", lambda)?,
        }
        for (_, rule) in self.rules() {
            let name = rule.name();
            for (setting, value) in rule.boxed().settings() {
                if let Setting::Number(own) = value {
                    let free = !setting.ends_with("weight_decay") || *own == 0.0;
                    range::require(free, setting, *own, &format!("0 in {name} beside a weight decay of the recipe"))?;
                }
            }
            let follows = !(rule.averages() && matches!(decay, Decay::Decoupled(_) | Decay::Independent(_)));
            range::require(follows, "weight_decay", "given", &format!("only coupled with {name}, which averages by itself"))?;
        }
        let means = self.factors(arena) && matches!(decay, Decay::Coupled(_));
        let name = self.rule(0, 0).name();
        range::require(!means, "weight_decay", "given", &format!("not coupled with matrices under {name}"))
    }

    /// Settings that have no meaning together.
    fn check_together(&self, rule: &dyn AnyRule, arena: &Arena) -> Result<()> {
        let name = rule.name();
        let layerwise = rule.layerwise() != Layerwise::No;
        let measures = rule.layerwise() == Layerwise::Before;
        let clips_elements = matches!(self.clip, Some(Clip::Value(_)));
        let other_norm = self.clip.is_some_and(|clip| clip.kind() != NormKind::L2);
        let by_tensor = matches!(self.clip, Some(Clip::Tensor { .. } | Clip::Normalise(_)));
        let factored = self.factors(arena);
        let matrices = arena.tensors().iter().any(|tensor| tensor.shape.len() >= 2);
        let drops = self.accumulation.is_some_and(|accumulation| accumulation.drop_bad);
        let averages = self.average.is_some() || self.lookahead.is_some();
        let maximizes = |rule: &dyn AnyRule| rule.full_row(1).0[Row::SCALE] < 0.0;
        let mixed = self.rules().any(|(_, other)| maximizes(other) != maximizes(rule));
        for (meaningless, field, allowed) in [
            (measures && clips_elements, "clip_value", format!("not with {name}, which takes norms before it")),
            (measures && other_norm, "clip.kind", format!("only L2 with {name}")),
            (layerwise && self.cautious, "cautious", format!("not with {name}, which has a direction of its own")),
            (factored && clips_elements, "clip_value", format!("not with matrices under {name}, which takes means before it")),
            (factored && by_tensor, "clip_tensor", format!("not with matrices under {name}, which bounds their step itself")),
            (factored && self.l1 != 0.0, "l1", format!("not with matrices under {name}")),
            (self.cautious && !rule.shifts(), "cautious", format!("not with {name}, whose step depends on the parameters")),
            (self.rho.is_some() && self.accumulation.is_some(), "sam", "not with accumulate".into()),
            (self.rho.is_some() && self.half.is_some(), "half_copy", "not with sam, whose ascents it would not follow".into()),
            (self.rho.is_some() && mixed, "sam", "only where all rules maximize or none".into()),
            (averages && rule.averages(), "average or lookahead", format!("not with {name}, which averages by itself")),
            (drops && self.loss_scale.is_some(), "drop_bad", "not with loss_scale, which has to hear of bad gradients".into()),
            (self.centralise && !matrices, "centralise", "only with a tensor of two dimensions or more".into()),
            (self.inspect && self.norm() != Some(NormKind::L2), "inspect", "not with a clip by another norm than L2".into()),
        ] {
            range::require(!meaningless, field, "given", &allowed)?;
        }
        Ok(())
    }
}

/// What makes a rule's kernel.
fn kernel(rule: &dyn AnyRule) -> String {
    format!("{} with {:?} and planes {:?}", rule.name(), rule.overrides(), rule.planes())
}

fn check_loss_scale(rule: &LossScale) -> Result<()> {
    let &LossScale { init, growth, backoff, min, interval } = rule;
    range::positive("loss_scale.init", init)?;
    range::require(min.is_finite() && (0.0..=f32::MAX.into()).contains(&min), "loss_scale.min", min, "from 0 to 3.4e38")?;
    range::require(growth.is_finite() && growth > 1.0, "loss_scale.growth", growth, "finite and above 1")?;
    range::require(backoff > 0.0 && backoff < 1.0, "loss_scale.backoff", backoff, "above 0 and below 1")?;
    range::require(interval > 0, "loss_scale.interval", interval, "at least 1")
}
