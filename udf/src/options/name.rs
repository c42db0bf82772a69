//! Names of options: one spelling, and the synonyms that are read.

/// Writes a name as the documentation spells it: hyphen and underscore are equal, and so are cases.
pub fn canonical(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace('-', "_")
}

/// Maps the synonyms of FLIP-400, of LOOKUP hints and of Flink's lookup tables to our words.
pub(crate) fn resolve_name(name: &str) -> String {
    let name = canonical(name);
    match name.as_str() {
        "max_concurrent_operations" | "capacity" => "buffer_capacity".into(),
        "fixed_delay" => "retry_delay".into(),
        "lookup.cache" => "cache".into(),
        "lookup.partial_cache.max_rows" => "cache_max_rows".into(),
        "lookup.partial_cache.expire_after_write" => "cache_ttl".into(),
        "lookup.partial_cache.expire_after_access" => "cache_ttl_after_access".into(),
        "lookup.partial_cache.cache_missing_key" => "cache_missing_keys".into(),
        "lookup.full_cache.periodic_reload.interval" => "cache_reload_interval".into(),
        _ => name,
    }
}

pub(crate) fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ")
}
