// Second moments of a factored rule: of rows and columns of matrices, or a vector's own.
// Two entries per tensor: first element, elements, rows, columns; first moment, matrices (0: a vector), nothing.
fn moment(lane: u32, tensor: u32, element: u32) -> f32 {
    let shape = stacks[2u * tensor];
    let place = stacks[2u * tensor + 1u];
    let first = lane * op.moments_lane + place.x;
    // Padding has no moments, nor a gradient.
    let i = min(element - shape.x, shape.y - 1u);
    if place.y == 0u {
        return moments[first + i];
    }
    let row = i / shape.w;
    let matrix = row / shape.z;
    let columns = first + place.y * shape.z;
    let divisors = columns + place.y * shape.w;
    return moments[first + row] * (moments[columns + matrix * shape.w + i % shape.w] / moments[divisors + matrix]);
}

fn load(i: u32) -> State {
    let lane = op.lane + i / op.len;
    let tensor = block_of(i) & 0xfffffu;
    let e = element_of(i);
    return State(vec4f(
        moment(lane, tensor, e), moment(lane, tensor, e + 1u), moment(lane, tensor, e + 2u), moment(lane, tensor, e + 3u),
    ));
}

fn store(i: u32, s: State, row: HyperRow) {}
