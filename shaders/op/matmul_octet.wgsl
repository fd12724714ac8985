// Eight neighbouring rows of A at one term of the sum: each thread reads them all.
// Plain WGSL, for adapters without subgroups.
struct Octet { low: vec4f, high: vec4f }
struct OctetAt { low: vec4u, high: vec4u }

fn octet_at(tile: Tile, row: u32, thread: u32) -> OctetAt {
    let base = a_start(tile);
    let last = vec4u(op.m - 1u);
    let step = a_step().x;
    let low = base + min(row + vec4u(0u, 1u, 2u, 3u), last) * step;
    let high = base + min(row + vec4u(4u, 5u, 6u, 7u), last) * step;
    return OctetAt(low, high);
}

fn octet(at: OctetAt, ahead: u32) -> Octet {
    let i = at.low + ahead;
    let j = at.high + ahead;
    return Octet(vec4f(a_elements[i.x], a_elements[i.y], a_elements[i.z], a_elements[i.w]), vec4f(a_elements[j.x], a_elements[j.y], a_elements[j.z], a_elements[j.w]));
}
