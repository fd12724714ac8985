// Reductions: `start` of nothing, `add` of an element (its place, and how many there are with it), `join` of neighbours (and
// how many elements each has), `result`. A state is two numbers; what they are stands in src/op/fold/reduce.rs.
fn start_sum() -> vec2f {
    return vec2f(0.0);
}

fn add_sum(state: vec2f, x: f32, place: u32, count: f32) -> vec2f {
    return vec2f(state.x + x, 0.0);
}

fn join_sum(left: vec2f, right: vec2f, of_left: f32, of_right: f32) -> vec2f {
    return left + right;
}

fn start_max() -> vec2f {
    return vec2f(op.low, 0.0);
}

fn add_max(state: vec2f, x: f32, place: u32, count: f32) -> vec2f {
    return vec2f(f_max(state.x, x), 0.0);
}

fn join_max(left: vec2f, right: vec2f, of_left: f32, of_right: f32) -> vec2f {
    return vec2f(f_max(left.x, right.x), 0.0);
}

fn start_first_max() -> vec2f {
    return vec2f(op.low, op.nan);
}

fn add_first_max(state: vec2f, x: f32, place: u32, count: f32) -> vec2f {
    if count == 1.0 {
        return vec2f(x, f32(place));
    }
    return join_first_max(state, vec2f(x, f32(place)), count - 1.0, 1.0);
}

fn join_first_max(left: vec2f, right: vec2f, of_left: f32, of_right: f32) -> vec2f {
    if is_nan(left.x) {
        return left;
    }
    if is_nan(right.x) || right.x > left.x {
        return right;
    }
    return left;
}

fn is_infinite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}

fn start_log_sum_exp() -> vec2f {
    return vec2f(op.low, 0.0);
}

fn add_log_sum_exp(state: vec2f, x: f32, place: u32, count: f32) -> vec2f {
    return join_log_sum_exp(state, vec2f(x, 1.0), count - 1.0, 1.0);
}

// Infinities have no distance to themselves: where one is the largest, it is the result.
fn join_log_sum_exp(left: vec2f, right: vec2f, of_left: f32, of_right: f32) -> vec2f {
    let largest = f_max(left.x, right.x);
    if is_nan(largest) || is_infinite(largest) {
        return vec2f(largest, 1.0);
    }
    return vec2f(largest, left.y * f_exp(left.x - largest) + right.y * f_exp(right.x - largest));
}

fn start_moments() -> vec2f {
    return vec2f(op.nan, 0.0);
}

fn add_moments(state: vec2f, x: f32, place: u32, count: f32) -> vec2f {
    if count == 1.0 {
        return vec2f(x, (x - x));
    }
    let distance = x - state.x;
    let mean = state.x + distance / count;
    return vec2f(mean, state.y + distance * (x - mean));
}

fn join_moments(left: vec2f, right: vec2f, of_left: f32, of_right: f32) -> vec2f {
    let distance = right.x - left.x;
    let share = of_right / (of_left + of_right);
    return vec2f(left.x + distance * share, left.y + right.y + distance * distance * (of_left * share));
}

fn result_log_sum_exp(state: vec2f) -> f32 {
    if is_infinite(state.x) {
        return 0.0;
    }
    return f_ln(state.y);
}
