//! Names as people write them: in any case, with other dashes, as in PyTorch, Keras and optax, or with a typing mistake.

use thalweg::{Error, Result};

/// Names of other libraries, in small letters without dashes, and the names here. A text with a space is a hint instead.
type Synonyms = &'static [(&'static str, &'static str)];

pub const RULES: Synonyms = &[
    ("momentum", "it is a setting of sgd: --rule sgd --set momentum=0.9"),
    ("nesterov", "it is a setting of sgd: --rule sgd --set momentum=0.9 --set nesterov=true"),
    ("amsgrad", "it is a setting of adam and adamw: --rule adam --set amsgrad=true"),
    ("sparseadam", "adam"),
    ("adamwschedulefree", "schedulefree"),
    ("schedulefreeadamw", "schedulefree"),
    (
        "lbfgs",
        "it needs the whole data set in every step, so it is not a rule for batches; the library has it as thalweg::Lbfgs",
    ),
    ("ftrl", "it is not among the rules; adagrad is the nearest"),
];

pub const RULE_SETTINGS: Synonyms = &[
    ("learningrate", "lr"),
    ("alpha0", "lr"),
    ("epsilon", "eps"),
    ("wd", "weight_decay"),
    ("decay", "weight_decay"),
    ("weightdecayrate", "weight_decay"),
    ("rho", "alpha"),
    ("betas", "they are two settings: beta1 and beta2"),
    ("b1", "beta1"),
    ("b2", "beta2"),
    ("b3", "beta3"),
    ("etas", "they are two settings: eta_minus and eta_plus"),
    ("stepsizes", "they are two settings: step_min and step_max"),
    ("lambda", "lambd"),
    ("clipnorm", "clipping goes with every rule: --clip-norm"),
    ("globalclipnorm", "clipping goes with every rule: --clip-norm"),
];

pub const SCHEDULES: Synonyms = &[
    ("steplr", "step"),
    ("multisteplr", "multi_step"),
    ("constantlr", "constant"),
    ("linearlr", "linear"),
    ("exponentiallr", "exponential"),
    ("exponentialdecay", "exponential"),
    ("polynomiallr", "polynomial"),
    ("polynomialdecay", "polynomial"),
    ("inversetimedecay", "inverse_time"),
    ("cosineannealinglr", "cosine"),
    ("cosineannealing", "cosine"),
    ("cosinedecay", "cosine"),
    ("cosineannealingwarmrestarts", "cosine_restarts"),
    ("cosinedecayrestarts", "cosine_restarts"),
    ("sgdr", "cosine_restarts"),
    ("piecewiseconstant", "piecewise"),
    ("piecewiseconstantdecay", "piecewise"),
    ("cycliclr", "cyclic"),
    ("onecyclelr", "one_cycle"),
    ("1cycle", "one_cycle"),
    ("reducelronplateau", "plateau"),
    ("rsqrt", "inverse_sqrt"),
    ("warmupstabledecay", "wsd"),
    ("transformer", "noam"),
    ("warmup", "it is a setting of every schedule, such as constant,warmup=100"),
];

pub const SCHEDULE_SETTINGS: Synonyms = &[
    ("tmax", "steps"),
    ("t0", "steps"),
    ("totalsteps", "steps"),
    ("totaliters", "steps"),
    ("stepsize", "steps"),
    ("decaysteps", "steps"),
    ("firstdecaysteps", "steps"),
    ("transitionsteps", "steps"),
    ("decayrate", "gamma"),
    ("tmult", "growth"),
    ("tmul", "growth"),
    ("mmul", "shrink"),
    ("stepsizeup", "up"),
    ("stepsizedown", "down"),
    ("divfactor", "div"),
    ("finaldivfactor", "final_div"),
    ("annealstrategy", "shape"),
    ("warmupsteps", "warmup"),
    ("dmodel", "model_size"),
    ("etamin", "it is `to` here, as a factor on --lr"),
    ("minlr", "it is `to` here, as a factor on --lr"),
    ("endlearningrate", "it is `to` here, as a factor on --lr"),
    ("endvalue", "it is `to` here, as a factor on --lr"),
    ("lr", "a schedule is a factor on --lr; the factor itself is `from`, `peak` or `value`"),
    ("maxlr", "the highest rate is --lr; a schedule is a factor on it"),
    ("baselr", "the highest rate is --lr; a schedule is a factor on it"),
    ("initiallearningrate", "the highest rate is --lr; a schedule is a factor on it"),
];

pub const MODELS: Synonyms = &[
    ("perceptron", "mlp"),
    ("dense", "mlp"),
    ("logistic", "linear"),
    ("convnet", "cnn"),
    ("conv", "cnn"),
    ("rnn", "lstm"),
    ("attention", "transformer"),
];

pub const LAYERS: Synonyms = &[
    ("dense", "linear"),
    ("conv", "conv2d"),
    ("maxpool", "max_pool2d"),
    ("avgpool", "avg_pool2d"),
    ("averagepool1d", "avg_pool1d"),
    ("averagepool2d", "avg_pool2d"),
    ("maxpooling1d", "max_pool1d"),
    ("maxpooling2d", "max_pool2d"),
    ("averagepooling1d", "avg_pool1d"),
    ("averagepooling2d", "avg_pool2d"),
    ("globalaveragepooling1d", "global_avg_pool"),
    ("globalaveragepooling2d", "global_avg_pool"),
    ("globalmaxpooling1d", "global_max_pool"),
    ("globalmaxpooling2d", "global_max_pool"),
    ("batchnorm1d", "batch_norm"),
    ("batchnorm2d", "batch_norm"),
    ("batchnormalization", "batch_norm"),
    ("layernormalization", "layer_norm"),
    ("groupnormalization", "group_norm"),
    ("instancenorm1d", "instance_norm"),
    ("instancenorm2d", "instance_norm"),
    ("dropout1d", "channel_dropout"),
    ("dropout2d", "channel_dropout"),
    ("spatialdropout2d", "channel_dropout"),
    ("swish", "silu"),
    ("multiheadattention", "attention"),
    ("transformer", "transformer_block"),
    ("transformerencoderlayer", "transformer_block"),
    ("positionalencoding", "positions"),
];

pub const LAYER_SETTINGS: Synonyms = &[
    ("infeatures", "inputs"),
    ("outfeatures", "outputs"),
    ("inchannels", "inputs"),
    ("outchannels", "outputs"),
    ("channels", "outputs"),
    ("filters", "outputs"),
    ("units", "outputs"),
    ("inputsize", "inputs"),
    ("hiddensize", "hidden"),
    ("kernelsize", "kernel"),
    ("poolsize", "kernel"),
    ("strides", "stride"),
    ("dilationrate", "dilation"),
    ("numgroups", "groups"),
    ("numfeatures", "features"),
    ("numlayers", "layers"),
    ("numheads", "heads"),
    ("numembeddings", "rows"),
    ("inputdim", "rows"),
    ("embeddingdim", "width"),
    ("outputdim", "width"),
    ("paddingidx", "padding"),
    ("nhead", "heads"),
    ("bidirectional", "both_directions"),
    ("dimfeedforward", "feed_forward"),
    ("rate", "p"),
    ("epsilon", "eps"),
    ("negativeslope", "slope"),
    ("type", "the kind of a layer is its key kind, such as kind = \"linear\""),
];

/// A name in small letters and without dashes.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// The known name that is meant.
///
/// # Errors
/// [`Error::Unknown`] with all known names, and what may have been meant.
pub fn find<'a>(kind: &str, given: &str, known: &[&'a str], synonyms: Synonyms) -> Result<&'a str> {
    let wanted = plain(given);
    let same = |name: &str| known.iter().copied().find(|known| plain(known) == plain(name));
    if let Some(name) = same(&wanted) {
        return Ok(name);
    }
    let meant = synonyms.iter().find(|(name, _)| *name == wanted).map(|(_, meant)| *meant);
    if let Some(name) = meant.and_then(same) {
        return Ok(name);
    }
    let mut error = Error::unknown(kind, given, known);
    if let (Error::Unknown { hint, .. }, Some(meant)) = (&mut error, meant.filter(|meant| meant.contains(' '))) {
        *hint = Some(meant.into());
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_others_write_them() {
        let rules: Vec<&str> = thalweg::rules().iter().map(|rule| rule.name()).collect();
        for (given, expected) in [("AdamW", "adamw"), ("SGD", "sgd"), ("schedule-free", "schedulefree"), ("RMSprop", "rmsprop")]
        {
            assert_eq!(find("rule", given, &rules, RULES), Ok(expected));
        }
        for (given, hint) in [("adma", "did you mean adam?"), ("momentum", "--set momentum=0.9"), ("LBFGS", "whole data set")] {
            let error = find("rule", given, &rules, RULES).expect_err("unknown").to_string();
            assert!(error.starts_with(&format!("unknown rule '{given}'; known: sgd, ")) && error.contains(hint), "{error}");
        }
        let far = find("rule", "wonderful", &rules, RULES).expect_err("unknown").to_string();
        assert!(!far.contains("did you mean"), "{far}");
    }

    #[test]
    fn every_synonym_is_a_name_here_or_a_hint() {
        let rules: Vec<&str> = thalweg::rules().iter().map(|rule| rule.name()).collect();
        for (name, meant) in RULES {
            assert!(*name == plain(name) && (meant.contains(' ') || rules.contains(meant)), "{name}");
        }
        let listings = thalweg::schedule::factors();
        let schedules: Vec<&str> = listings.iter().map(|listing| listing.name).chain(["plateau"]).collect();
        for (name, meant) in SCHEDULES {
            assert!(*name == plain(name) && (meant.contains(' ') || schedules.contains(meant)), "{name}");
        }
        for (name, meant) in SCHEDULE_SETTINGS {
            let known = listings.iter().any(|listing| listing.settings.iter().any(|(setting, _)| setting == meant));
            assert!(*name == plain(name) && (meant.contains(' ') || known), "{name}");
        }
    }
}
