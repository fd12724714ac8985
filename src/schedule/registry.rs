//! The schedules by name, for command lines.

use crate::error::{Error, Result};
use crate::schedule::*;
use crate::text::Text;

/// Settings by name.
type Settings<'a> = Vec<(&'static str, &'a mut dyn Text)>;

/// A schedule that has a name and settings; those made of other schedules have neither.
trait Named: Into<Schedule> {
    const NAME: &'static str;
    const FORMULA: &'static str;
    /// Settings whose default fails the check, with an example of each.
    const REQUIRED: &'static [(&'static str, &'static str)];
    /// The value itself, which has to be given too, unless it is a factor.
    const VALUE: &'static [&'static str];

    /// The schedule before anything is given: values are 1, as those of a factor.
    fn factor() -> Self;

    fn settings(&mut self) -> Settings<'_>;
}

/// What the registry knows of a schedule.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Listing {
    /// The name that [`schedule_by_name`] and [`factor_by_name`] take.
    pub name: &'static str,
    /// The value at step t.
    pub formula: &'static str,
    /// Name and default of each setting; none: the setting has to be given.
    pub settings: Vec<(&'static str, Option<String>)>,
}

/// The warm-up that can stand before any schedule that has none of its own.
struct Lead {
    warmup: u64,
    warmup_start: f64,
}

impl Lead {
    fn settings(&mut self) -> [(&'static str, &mut dyn Text); 2] {
        [("warmup", &mut self.warmup), ("warmup_start", &mut self.warmup_start)]
    }
}

/// Runs `body` on the settings of a schedule, its own and those of the warm-up.
fn with_settings<T: Named, R>(curve: &mut T, lead: &mut Lead, body: impl FnOnce(&mut Settings<'_>) -> R) -> R {
    let mut settings = curve.settings();
    if settings.iter().all(|(name, _)| *name != "warmup") {
        settings.extend(lead.settings());
    }
    body(&mut settings)
}

/// A schedule with the names of the settings that have a default.
fn listing<T: Named>(value: &[&str]) -> Listing {
    let settings = with_settings(&mut T::factor(), &mut Lead { warmup: 0, warmup_start: 0.0 }, |settings| {
        let given = |name: &str| value.contains(&name) || T::REQUIRED.iter().any(|(required, _)| *required == name);
        settings.iter().map(|(name, value)| (*name, (!given(name)).then(|| value.write()))).collect()
    });
    Listing { name: T::NAME, formula: T::FORMULA, settings }
}

/// A schedule of these settings, among which has to be `value`.
fn make<T: Named>(given: &[(&str, &str)], value: &[&str]) -> Result<Schedule> {
    let (mut curve, mut lead) = (T::factor(), Lead { warmup: 0, warmup_start: 0.0 });
    with_settings(&mut curve, &mut lead, |settings| read(settings, given))?;
    let value = value.iter().map(|name| (*name, VALUE));
    check_given(T::NAME, T::REQUIRED.iter().copied().chain(value), given)?;
    let schedule: Schedule = curve.into();
    schedule.check()?;
    not_negative("warmup_start", lead.warmup_start)?;
    if lead.warmup == 0 {
        range::require(lead.warmup_start == 0.0, "warmup_start", lead.warmup_start, "0 without a warmup")?;
        return Ok(schedule);
    }
    Ok(schedule.warmup(lead.warmup, lead.warmup_start))
}

/// An example of a value: a learning rate.
const VALUE: &str = "0.001";

/// Checks that settings without a default are given; each comes with an example for the error.
fn check_given<'a>(of: &str, mut required: impl Iterator<Item = (&'a str, &'a str)>, given: &[(&str, &str)]) -> Result<()> {
    let missing = required.find(|(name, _)| given.iter().all(|(given, _)| given != name));
    missing.map_or(Ok(()), |(name, example)| Err(Error::missing(of, name, format!("{name}={example}"))))
}

/// Takes the settings that are given.
fn read(settings: &mut Settings<'_>, given: &[(&str, &str)]) -> Result<()> {
    let known: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
    for (i, &(name, text)) in given.iter().enumerate() {
        let index = known.iter().position(|&known| known == name);
        let index = index.ok_or_else(|| Error::unknown("setting", name, &known))?;
        if given[..i].iter().any(|&(earlier, _)| earlier == name) {
            return Err(Error::Duplicate { kind: "setting".into(), name: name.into() });
        }
        settings[index].1.read(text).map_err(|allowed| Error::setting(name, text, allowed))?;
    }
    Ok(())
}

impl ReduceLrOnPlateau {
    fn settings(&mut self) -> Settings<'_> {
        let Self { from, goal, factor, patience, threshold, cooldown, to, eps } = self;
        vec![
            ("from", from),
            ("goal", goal),
            ("factor", factor),
            ("patience", patience),
            ("threshold", threshold),
            ("cooldown", cooldown),
            ("to", to),
            ("eps", eps),
        ]
    }

    /// What there is to know of it, as [`schedules`] knows it of schedules. Its name is `plateau`.
    pub fn listing() -> Listing {
        let mut listing = Self::factor_listing();
        listing.settings.iter_mut().filter(|(name, _)| *name == "from").for_each(|(_, default)| *default = None);
        listing
    }

    /// [`ReduceLrOnPlateau::listing`] of a factor, which starts from 1 unless said otherwise: as [`factors`].
    pub fn factor_listing() -> Listing {
        let settings = Self::new(1.0).settings().into_iter().map(|(name, value)| (name, Some(value.write()))).collect();
        let formula =
            "from · factor^k, one more in k whenever more than `patience` metrics in a row are not better than the best";
        Listing { name: "plateau", formula, settings }
    }

    /// The given settings, checked; `from`, the value at the start, has to be among them.
    ///
    /// # Errors
    /// As [`schedule_by_name`].
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::schedule::{Extreme, ReduceLrOnPlateau, Threshold};
    ///
    /// let settings = [("from", "0.1"), ("factor", "0.5"), ("goal", "max"), ("threshold", "absolute:0.01")];
    /// let (factor, goal, threshold) = (0.5, Extreme::Max, Threshold::Absolute(0.01));
    /// let expected = ReduceLrOnPlateau { factor, goal, threshold, ..ReduceLrOnPlateau::new(0.1) };
    /// assert_eq!(ReduceLrOnPlateau::from_settings(&settings)?, expected);
    /// assert!(ReduceLrOnPlateau::from_settings(&settings[1..]).is_err());
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn from_settings(given: &[(&str, &str)]) -> Result<Self> {
        let plateau = Self::factor_from_settings(given)?;
        check_given("plateau", std::iter::once(("from", VALUE)), given)?;
        Ok(plateau)
    }

    /// The given settings, checked, of a factor, which starts from 1 unless `from` says otherwise.
    ///
    /// # Errors
    /// As [`factor_by_name`].
    pub fn factor_from_settings(given: &[(&str, &str)]) -> Result<Self> {
        let mut plateau = Self::new(1.0);
        read(&mut plateau.settings(), given)?;
        plateau.check()?;
        Ok(plateau)
    }
}

/// One entry per schedule: its type; the factor that it is by default; name; formula; settings that must be given; those that
/// must be given unless it is a factor; all other settings.
macro_rules! registry {
    ($($kind:ident = $factor:expr, $name:literal $formula:literal
        [$($required:ident = $example:literal),*] [$($value:ident),*] [$($setting:ident),*])*) => {
        $(impl Named for $kind {
            const NAME: &'static str = $name;
            const FORMULA: &'static str = $formula;
            const REQUIRED: &'static [(&'static str, &'static str)] = &[$((stringify!($required), $example)),*];
            const VALUE: &'static [&'static str] = &[$(stringify!($value)),*];

            fn factor() -> Self {
                $factor
            }

            fn settings(&mut self) -> Settings<'_> {
                vec![
                    $((stringify!($required), &mut self.$required),)*
                    $((stringify!($value), &mut self.$value),)*
                    $((stringify!($setting), &mut self.$setting),)*
                ]
            }
        })*

        /// Every schedule that has a name, with the settings that [`schedule_by_name`] takes.
        ///
        /// # Examples
        ///
        /// ```
        /// let listings = thalweg::schedule::schedules();
        /// let step = listings.iter().find(|listing| listing.name == "step").unwrap();
        /// assert_eq!(step.formula, "from · gamma^⌊t / steps⌋");
        /// assert_eq!(step.settings[..2], [("steps", None), ("from", None)]);
        /// assert_eq!(step.settings[2], ("gamma", Some("0.1".into())));
        /// ```
        pub fn schedules() -> Vec<Listing> {
            vec![$(listing::<$kind>($kind::VALUE)),*]
        }

        /// [`schedules`] as factors, with the settings that [`factor_by_name`] takes: values have a default.
        pub fn factors() -> Vec<Listing> {
            vec![$(listing::<$kind>(&[])),*]
        }

        /// The schedule of that name with the given settings, checked, for [`Recipe::schedule`](crate::Recipe::schedule). The
        /// value itself (`from`, `peak` or `value`) has to be given. Every schedule takes `warmup` (steps) too, and all but
        /// those with a warm-up of their own `warmup_start` (the value at step 0); see [`Warmup`].
        ///
        /// # Errors
        /// [`Error::Unknown`] listing all schedules or all settings, [`Error::Duplicate`] if a setting is given twice,
        /// [`Error::Missing`] with an example where one without a default is not given, and [`Error::Setting`] if a text cannot
        /// be read; else as [`Schedule::check`].
        ///
        /// # Examples
        ///
        /// ```
        /// use thalweg::schedule::schedule_by_name;
        ///
        /// let schedule = schedule_by_name("cosine", &[("from", "0.1"), ("steps", "1000"), ("warmup", "100")])?;
        /// assert_eq!([schedule.value(50), schedule.value(1100)], [0.05, 0.0]);
        /// let error = schedule_by_name("cosine", &[("steps", "1000")]).unwrap_err();
        /// assert_eq!(error.to_string(), "cosine needs from, for example from=0.001");
        /// let error = schedule_by_name("step", &[("step", "3")]).unwrap_err();
        /// assert_eq!(error.to_string(), "unknown setting 'step'; known: steps, from, gamma, warmup, warmup_start; did you mean steps?");
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        pub fn schedule_by_name(name: &str, settings: &[(&str, &str)]) -> Result<Schedule> {
            match name {
                $($name => make::<$kind>(settings, $kind::VALUE),)*
                _ => Err(Error::unknown("schedule", name, &[$($name),*])),
            }
        }

        /// [`schedule_by_name`] of a factor, for [`Recipe::scale`](crate::Recipe::scale): it starts from 1, or has its peak
        /// there, unless said otherwise.
        ///
        /// # Errors
        /// As for [`schedule_by_name`].
        ///
        /// # Examples
        ///
        /// ```
        /// use thalweg::schedule::factor_by_name;
        ///
        /// let factor = factor_by_name("cosine", &[("steps", "1000")])?;
        /// assert_eq!([factor.value(0), factor.value(500), factor.value(1000)], [1.0, 0.5, 0.0]);
        /// # Ok::<(), thalweg::Error>(())
        /// ```
        pub fn factor_by_name(name: &str, settings: &[(&str, &str)]) -> Result<Schedule> {
            match name {
                $($name => make::<$kind>(settings, &[]),)*
                _ => Err(Error::unknown("schedule", name, &[$($name),*])),
            }
        }
    };
}

registry! {
    Constant = Constant::new(1.0), "constant" "value, times factor for t < steps" [] [value] [factor, steps]
    Step = Step::new(1.0, 0), "step" "from · gamma^⌊t / steps⌋" [steps = "1000"] [from] [gamma]
    MultiStep = MultiStep::new(1.0, []), "multi_step" "from · gamma^#{m in milestones: m ≤ t}" [milestones = "300,600"] [from] [gamma]
    Piecewise = Piecewise::default(), "piecewise" "values[#{b in boundaries: b < t}]" [boundaries = "500", values = "1,0.1"] [] []
    LinearRamp = LinearRamp::new(1.0, 0), "linear" "value · (start_factor + (end_factor − start_factor) · min(t, steps) / steps)" [steps = "1000"] [value] [start_factor, end_factor]
    Polynomial = Polynomial::new(1.0, 0), "polynomial" "to + (from − to) · (1 − min(s, steps) / steps)^power, s = max(t − begin, 0)"
        [steps = "1000"] [from] [to, power, begin, cycle]
    Exponential = Exponential::new(1.0, 0.0), "exponential" "from · gamma^(max(t − begin, 0) / steps), not beyond `to`" [gamma = "0.99"] [from] [steps, begin, staircase, to]
    InverseTime = InverseTime::new(1.0, 0.0), "inverse_time" "from / (1 + gamma · t / steps)" [gamma = "0.01"] [from] [steps, staircase]
    Cosine = Cosine::new(1.0, 0), "cosine" "to + (from − to) · ((1 + cos(π · min(t, steps) / steps)) / 2)^power" [steps = "1000"] [from] [to, power, rises]
    CosineRestarts = CosineRestarts::new(1.0, 0), "cosine_restarts" "to + (from − to) · shrink^i · (1 + cos(π · (t − s_i) / (steps · growth^i))) / 2"
        [steps = "1000"] [from] [to, growth, shrink]
    Cyclic = Cyclic::new(0.0, 1.0), "cyclic" "from + (peak − from) · k · f, k up in `up` and down in `down` steps; f by mode: 1, 2^−cycle, gamma^t"
        [] [from, peak] [up, down, mode, gamma]
    OneCycle = OneCycle::new(1.0, 0), "one_cycle" "peak/div → peak → peak/div/final_div, the peak at pct_start · steps − 1, the end at steps − 1"
        [steps = "1000"] [peak] [pct_start, div, final_div, shape, three_phase]
    Noam = Noam::default(), "noam" "factor · model_size^−½ · min((t + 1)^−½, (t + 1) · warmup^−3⁄2)" [] [] [factor, model_size, warmup]
    InverseSqrt = InverseSqrt::new(1.0), "inverse_sqrt" "from / √(1 + t / timescale)" [] [from] [timescale]
    Wsd = Wsd::new(1.0, 0), "wsd" "peak · t / warmup, then peak for `stable` steps, then down to `to` in `decay` steps" [decay = "200"] [peak] [warmup, stable, to, shape]
}
