//! The rules, one file each, beside its WGSL half in `shaders/rules/`.

#[cfg(feature = "serde")]
mod file;

use crate::error::{Error, Result};
use crate::rule::AnyRule;

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

/// The rule of that name, with its default settings.
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
    let all = rules();
    let known: Vec<&str> = all.iter().map(|rule| rule.name()).collect();
    let index = known.iter().position(|&known| known == name).ok_or_else(|| Error::unknown("rule", name, &known))?;
    Ok(all[index].boxed())
}
