// Eight neighbouring rows of A at one term of the sum: each of eight threads reads one, and all share them.
// Subgroup broadcasts in place of loads; the workgroup of eight threads must lie in one subgroup, in order.
struct Octet { low: vec4f, high: vec4f }

fn octet_at(tile: Tile, row: u32, thread: u32) -> u32 {
    return a_start(tile) + min(row + thread, op.m - 1u) * a_step().x;
}

fn octet(at: u32, ahead: u32) -> Octet {
    let x = a_elements[at + ahead];
    let low = vec4f(subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u), subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u));
    let high = vec4f(subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u), subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u));
    return Octet(low, high);
}
