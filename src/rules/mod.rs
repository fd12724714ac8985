//! The rules, one file each, beside its WGSL half in `shaders/rules/`.

#[cfg(feature = "serde")]
mod file;

use crate::error::{Error, Result};
use crate::rule::AnyRule;
use std::sync::{PoisonError, RwLock};

/// One line per rule: the module, then the type.
macro_rules! registry {
    ($($module:ident :: $rule:ident),* $(,)?) => {
        $(mod $module; pub use $module::$rule;)*

        /// Every rule with its default settings.
        ///
        /// # Examples
        ///
        /// ```
        /// let names: Vec<&str> = thalweg::rules().iter().map(|rule| rule.name()).collect();
        /// assert!(names.contains(&"adamw"));
        /// ```
        pub fn rules() -> Vec<Box<dyn AnyRule>> {
            vec![$(Box::new($rule::default())),*]
        }

        $(
            /// Settings under the names by which they are set; on reading, what is not given has its default.
            #[cfg(feature = "serde")]
            impl serde::Serialize for $rule {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    file::write_rule(self, serializer)
                }
            }

            #[cfg(feature = "serde")]
            impl<'de> serde::Deserialize<'de> for $rule {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    file::read_rule(deserializer)
                }
            }
        )*
    };
}

registry! {
    sgd::Sgd,
    rmsprop::RmsProp,
    adam::Adam,
    adamw::AdamW,
    adagrad::Adagrad,
    radam::RAdam,
    adamax::Adamax,
    adadelta::Adadelta,
    nadam::NAdam,
    asgd::Asgd,
    rprop::Rprop,
    lion::Lion,
    lars::Lars,
    lamb::Lamb,
    novograd::NovoGrad,
    ademamix::AdEMAMix,
    adan::Adan,
    schedulefree::ScheduleFree,
    adafactor::Adafactor,
    muon::Muon,
}

/// Rules from outside the crate that are known by name.
static OTHERS: RwLock<Vec<Box<dyn AnyRule>>> = RwLock::new(Vec::new());

/// Makes a rule from outside the crate known by its name in this process, to [`rule_by_name`] and to whatever reads rules from
/// files, with these settings as its defaults. Writing a recipe with such a rule does not need this call; a program that reads
/// one calls it first.
///
/// # Errors
/// [`Error::Duplicate`] if a rule of that name is known.
///
/// # Examples
///
/// ```
/// # use thalweg::{Real, Rule, settings};
/// # settings! {
/// #     /// Moves against the gradient's sign.
/// #     pub struct SignSgd {
/// #         /// Learning rate.
/// #         number lr = 1e-3, not_negative;
/// #     }
/// # }
/// # impl Rule for SignSgd {
/// #     type Hyper<F: Real> = [F; 1];
/// #     type State<F: Real> = [F; 0];
/// #     const NAME: &'static str = "signsgd";
/// #     const FORMULA: &'static str = "x −= lr·sign(d)";
/// #     const HYPER: &'static [&'static str] = &["lr"];
/// #     const STATE: &'static [&'static str] = &[];
/// #     const WGSL: &'static str = "";
/// #     fn lr(&self) -> f64 { self.lr }
/// #     fn hyper(&self, _t: u64) -> [f64; 1] { [self.lr] }
/// #     fn update<F: Real>(&self, &[lr]: &[F; 1], x: F, d: F, _s: &mut [F; 0]) -> F { x - lr * d.signum() }
/// # }
/// // `SignSgd` is that of the docs of `Rule`.
/// thalweg::register_rule(SignSgd { lr: 0.01 })?;
/// assert_eq!(thalweg::rule_by_name("signsgd")?.lr(), 0.01);
/// assert!(thalweg::register_rule(SignSgd { lr: 0.01 }).is_err());
/// # Ok::<(), thalweg::Error>(())
/// ```
pub fn register_rule(rule: impl Into<Box<dyn AnyRule>>) -> Result<()> {
    let rule = rule.into();
    let mut others = OTHERS.write().unwrap_or_else(PoisonError::into_inner);
    if rules().iter().chain(&*others).any(|known| known.name() == rule.name()) {
        return Err(Error::Duplicate { kind: "rule".into(), name: rule.name().into() });
    }
    others.push(rule);
    Ok(())
}

/// The rule of that name, with its default settings: one of this crate, or of [`register_rule`].
///
/// # Errors
/// [`Error::Unknown`], listing all rules.
///
/// # Examples
///
/// ```
/// assert_eq!(thalweg::rule_by_name("adamw")?.lr(), 1e-3);
/// let error = thalweg::rule_by_name("adamm").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "unknown rule 'adamm'; known: sgd, rmsprop, adam, adamw, adagrad, radam, adamax, adadelta, nadam, asgd, rprop, lion, lars, \
///      lamb, novograd, ademamix, adan, schedulefree, adafactor, muon; did you mean adam or adamw?"
/// );
/// # Ok::<(), thalweg::Error>(())
/// ```
pub fn rule_by_name(name: &str) -> Result<Box<dyn AnyRule>> {
    let mut all = rules();
    all.extend(OTHERS.read().unwrap_or_else(PoisonError::into_inner).iter().cloned());
    let known: Vec<&str> = all.iter().map(|rule| rule.name()).collect();
    let index = known.iter().position(|&known| known == name).ok_or_else(|| Error::unknown("rule", name, &known))?;
    Ok(all[index].boxed())
}

#[cfg(test)]
#[cfg(feature = "serde")]
mod tests {
    use super::*;
    use crate::optimizer::{Accumulation, Recipe, Select};
    use crate::rule::{Real, Rule};
    use crate::settings;

    settings! {
        /// A rule from outside.
        pub struct Signed {
            /// Learning rate.
            number lr = 0.5, not_negative;
        }
    }

    impl Rule for Signed {
        type Hyper<F: Real> = [F; 1];
        type State<F: Real> = [F; 0];
        const NAME: &'static str = "signed";
        const FORMULA: &'static str = "x −= lr·d";
        const HYPER: &'static [&'static str] = &["lr"];
        const STATE: &'static [&'static str] = &[];
        const WGSL: &'static str = "struct Hyper { lr: f32 }
            struct State { none: f32 }
            fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T { return x - h.lr * d; }";

        fn lr(&self) -> f64 {
            self.lr
        }

        fn hyper(&self, _t: u64) -> [f64; 1] {
            [self.lr]
        }

        fn update<F: Real>(&self, &[lr]: &[F; 1], x: F, d: F, _s: &mut [F; 0]) -> F {
            x - lr * d
        }
    }

    /// A recipe with a rule from outside comes back from a file once the rule is known.
    #[test]
    fn rules_from_outside_are_read_from_files() -> Result<()> {
        let recipe = Recipe::new(Signed { lr: 0.25 }).accumulate(Accumulation::default());
        let recipe = recipe.group_of("vectors", Select::Below(2), Sgd::default());
        let text = toml::to_string(&recipe).expect("TOML");
        let error = toml::from_str::<Recipe>(&text).expect_err("an unknown rule").to_string();
        assert!(error.contains("unknown rule 'signed'"), "{error}");
        register_rule(Signed { lr: 0.5 })?;
        let read: Recipe = toml::from_str(&text).expect("a recipe");
        assert_eq!(format!("{read:?}"), format!("{recipe:?}"));
        let plain: Recipe = serde_json::from_str(r#"{"groups": [{"rules": [{"rule": "signed"}]}]}"#).expect("a recipe");
        assert_eq!(format!("{plain:?}"), format!("{:?}", Recipe::new(Signed { lr: 0.5 })));
        assert_eq!(rule_by_name("signed")?.lr(), 0.5);
        assert_eq!(register_rule(Signed { lr: 0.5 }).unwrap_err().to_string(), "rule 'signed' is given twice");
        assert_eq!(register_rule(Sgd::default()).unwrap_err().to_string(), "rule 'sgd' is given twice");
        Ok(())
    }
}
