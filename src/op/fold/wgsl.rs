//! The kernels of a fold.

use super::super::map::wgsl::{COORDINATES, formulas, functions, output};
use super::{CHUNK, Fold, OUTPUTS, Reduction, SPAN};

/// Elements that a thread adds up one after the other.
pub(super) const GROUP: usize = 16;

/// The first stage: a thread per row and span, which adds up group after group, and chunk after chunk.
pub(super) fn first(fold: &Fold) -> String {
    let values = each(fold, |o, name| {
        format!("                g{o} = add_{name}(g{o}, {}, k, f32(k - group + 1u));\n", output(&fold.program, o))
    });
    let groups = each(fold, |o, name| {
        format!(
            "            if group == chunk {{ p{o} = g{o}; }} else {{ p{o} = join_{name}(p{o}, g{o}, f32(group - chunk), f32(last - group)); }}\n"
        )
    });
    let joins = each(fold, |o, name| {
        format!(
            "        if chunk == begin {{ s{o} = p{o}; }} else {{ s{o} = join_{name}(s{o}, p{o}, f32(chunk - begin), f32(until - chunk)); }}\n"
        )
    });
    let stores = if fold.spans() == 1 { results(fold) } else { each(fold, |o, _| partial(o)) };
    format!(
        "{functions}
{reductions}
@compute @workgroup_size(64)
fn fold(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {{
    let thread = id.x + id.y * count.x * 64u;
    if thread >= op.len {{
        return;
    }}
    let lane = id.z;
    let row = thread / op.spans;
    let span = thread % op.spans;
    let begin = span * {SPAN}u;
    let end = min(begin + {SPAN}u, op.folded);
{starts}    for (var chunk = begin; chunk < end; chunk += {CHUNK}u) {{
        let until = min(chunk + {CHUNK}u, end);
{chunk_starts}        for (var group = chunk; group < until; group += {GROUP}u) {{
            let last = min(group + {GROUP}u, until);
{group_starts}            for (var k = group; k < last; k++) {{
                let i = row * op.folded + k;
{COORDINATES}{loads}{formulas}{values}            }}
{groups}        }}
{joins}    }}
{stores}}}
",
        functions = functions(&fold.inputs),
        reductions = include_str!("../../../shaders/op/fold.wgsl"),
        starts = each(fold, |o, name| format!("    var s{o} = start_{name}();\n")),
        chunk_starts = each(fold, |o, name| format!("        var p{o} = start_{name}();\n")),
        group_starts = each(fold, |o, name| format!("            var g{o} = start_{name}();\n")),
        loads = fold.inputs.loads(),
        formulas = formulas(&fold.program),
    )
}

/// The second stage: a thread per row joins what the first one left.
pub(super) fn second(fold: &Fold) -> String {
    let joins = each(fold, |o, name| {
        format!("        s{o} = join_{name}(s{o}, {}, f32(span * {SPAN}u), f32(until - span * {SPAN}u));\n", read(o, "span"))
    });
    format!(
        "{functions}
{reductions}
@compute @workgroup_size(64)
fn join(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {{
    let row = id.x + id.y * count.x * 64u;
    if row >= op.len {{
        return;
    }}
    let lane = id.z;
{starts}    for (var span = 1u; span < op.spans; span++) {{
        let until = min((span + 1u) * {SPAN}u, op.folded);
{joins}    }}
{results}}}
",
        functions = functions(&fold.inputs),
        reductions = include_str!("../../../shaders/op/fold.wgsl"),
        starts = each(fold, |o, _| format!("    var s{o} = {};\n", read(o, "0u"))),
        results = results(fold),
    )
}

/// A text for each output, from its index and the name of its reduction.
fn each(fold: &Fold, text: impl Fn(usize, &str) -> String) -> String {
    fold.outputs.iter().enumerate().map(|(index, output)| text(index, name(output.reduction))).collect()
}

fn name(reduction: Reduction) -> &'static str {
    match reduction {
        Reduction::Sum => "sum",
        Reduction::Max => "max",
        Reduction::FirstMax => "first_max",
        Reduction::LogSumExp => "log_sum_exp",
        Reduction::Moments => "moments",
    }
}

fn read(output: usize, span: &str) -> String {
    let place = format!("2u * (({output}u * op.rows + row) * op.spans + {span})");
    format!("vec2f(scratch(lane, {place}), scratch(lane, {place} + 1u))")
}

fn partial(output: usize) -> String {
    let place = format!("2u * (({output}u * op.rows + row) * op.spans + span)");
    format!("    put_scratch(lane, {place}, s{output}.x);\n    put_scratch(lane, {place} + 1u, s{output}.y);\n")
}

fn results(fold: &Fold) -> String {
    let mut names = OUTPUTS.into_iter().chain(std::iter::repeat("y"));
    let mut text = String::new();
    for (index, output) in fold.outputs.iter().enumerate() {
        let values = match output.reduction {
            Reduction::Sum | Reduction::Max => vec![format!("s{index}.x")],
            Reduction::FirstMax => vec![format!("s{index}.y")],
            Reduction::LogSumExp => vec![format!("s{index}.x"), format!("result_log_sum_exp(s{index})")],
            Reduction::Moments => vec![format!("s{index}.x"), format!("s{index}.y")],
        };
        for value in values {
            text += &format!("    put_{}(lane, row, {value});\n", names.next().unwrap_or("y"));
        }
    }
    text
}
