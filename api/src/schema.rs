//! The schemas of single fields, where the derive cannot say enough: list types, bounds, and CEL rules whose messages
//! name the remedy.
//!
//! Everything is bounded, for two reasons: the API server refuses a CRD whose CEL rules could cost too much, and it
//! estimates that cost from `maxLength` and `maxItems`. A text is checked by CEL rather than by `pattern`, because a
//! failed `pattern` only prints the regular expression. Regular expressions are RE2's, in CEL raw strings.
//!
//! Foreign types (`LabelSelector`, `Condition`) are written out here, bounded and without their essays: a CRD has to
//! stay well under 256 KiB, the limit of client-side apply.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// At most this many rules in a route.
pub const MAX_RULES: usize = 64;
/// At most this many patterns in a rule.
pub const MAX_PATTERNS: usize = 32;
/// No path or pattern is longer than this many characters.
pub const MAX_PATH_LENGTH: usize = 512;
/// At most this many paths, patterns or tags in one purge, each.
pub const MAX_SELECTORS: usize = 128;
/// All selectors of a purge together, in characters.
pub const MAX_SELECTOR_SIZE: usize = 8192;
/// At most this many hostnames.
pub const MAX_HOSTNAMES: usize = 16;
/// No tag is longer than this many characters.
pub const MAX_TAG_LENGTH: usize = 256;

/// One CEL rule: an expression over `self`, and what the user is told when it is false.
type Rule<'a> = (&'a str, &'a str);

const HOSTNAME: Rule<'_> = (
    r"self.matches(r'^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
    "a hostname is lower case, without scheme, port or path; a wildcard is the whole first label: write shop.example.com or *.example.com",
);
const NO_ADDRESS: Rule<'_> = (
    r"!self.matches(r'^[0-9.]+$')",
    "a hostname is no IP address: write a name such as shop.example.com, or leave hostnames out to mean any host",
);
const STARTS_WITH_SLASH: Rule<'_> = (
    "self.startsWith('/')",
    "a path starts with '/': write /blog/hello, not blog/hello or a URL",
);
const NO_QUERY: Rule<'_> = (
    r"!self.matches(r'[?#\s]')",
    "a path has no query, fragment or space: leave them out (a path covers all its queries; escape a space as %20)",
);
const NORMAL: Rule<'_> = (
    r"!self.matches(r'//|/[.]{1,2}(/|$)|[\x5c;\x00-\x1f\x7f]')",
    "a path is in normal form: no empty, '.' or '..' segment, no backslash, semicolon or control character; other paths are never stored",
);
const PARAMETERS: Rule<'_> = (
    r"self.matches(r'(?i)^[^/\[\]]*(/([^/\[\]]*|\[(\[[.]{3}[-_0-9a-z]+\]|([.]{3})?[-_0-9a-z]+)\]))*$')",
    "a parameter is a whole segment in balanced brackets: write [slug], [...rest] or [[...rest]], its name of letters, digits, '_' and '-'",
);
const CATCH_ALL_LAST: Rule<'_> = (
    r"!self.matches(r'\[[.]{3}[^/]*/.')",
    "a catch-all comes last: end the pattern with [...rest] or [[...rest]], or use [name] for one segment in the middle",
);
const TAG: Rule<'_> = (
    r"self.matches(r'^[^\s,\x00-\x1f\x7f]([^,\x00-\x1f\x7f]*[^\s,\x00-\x1f\x7f])?$')",
    "a tag is not empty and has no comma, control character, or space at its ends: write post:42, and each tag as an item of its own",
);
const TAG_PARAMETERS: Rule<'_> = (
    r"self.matches(r'^([^\[\]]|\[[-_0-9A-Za-z]+\])*$')",
    "a tag refers to a parameter of the path as [name], in balanced brackets and without dots: write post:[slug]",
);
const TOKEN: &str = r"self.matches(r'^[!#$%&*+.^_|~0-9A-Za-z\x27\x60-]+$')";
const HEADER_NAME: Rule<'_> = (
    TOKEN,
    "a header name has letters, digits and '-' only: write accept-language, without a colon",
);
const COOKIE_NAME: Rule<'_> = (
    TOKEN,
    "a cookie name has letters, digits, '-' and '_' only: write the name alone, without '=' and value",
);
const SHAREABLE_HEADER: Rule<'_> = (
    "!(self.lowerAscii() in ['authorization', 'cookie', 'connection', 'content-length', 'host', 'if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since', 'range', 'te', 'trailer', 'transfer-encoding', 'upgrade'])",
    "this header can be no part of a key: name cookies in key.cookies, leave Authorization to override, and hosts to hostnames",
);
const SENDABLE_HEADER: Rule<'_> = (
    "!(self.lowerAscii() in ['accept-encoding', 'connection', 'content-length', 'cookie', 'expect', 'host', 'if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since', 'keep-alive', 'proxy-connection', 'range', 'rsc', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'x-forwarded-host', 'x-forwarded-proto'])",
    "this header belongs to the connection, to a visitor or to the page's key, and cannot be added: choose a header that the app reads, such as x-prerender-revalidate",
);
const QUERY_NAME: Rule<'_> = (
    r"self.matches(r'^[^&=#\s\x00-\x1f\x7f]+$')",
    "a query parameter is its name alone, as it stands in the URL: write page, not page=1",
);
const RULE_NAME: Rule<'_> = (
    r"self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    "a rule's name has lower case letters, digits and '-' only: write blog or docs-v2",
);
const PRERENDER: Rule<'_> = (
    r"self.matches(r'^(/|https?://[^/?#\s]+/)[^#\s]*$')",
    "a page to prerender is a path or an absolute URL: write /blog/hello or https://shop.example.com/blog/hello",
);
const BYTES: Rule<'_> = (
    r"self.matches(r'^[0-9]{1,15}([.][0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti)?$') && self.matches('[1-9]')",
    "a size is a positive number of bytes as text, or a quantity: write '1048576', 512Ki or 10Mi",
);
const CACHE_CONTROL: Rule<'_> = (
    r"self.matches(r'^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$')",
    "a Cache-Control is one line of printable ASCII: write public, max-age=0, must-revalidate",
);
/// `string(self) != self` asks for an integer: `type()` is not everywhere to be had (not in `validate_cel`).
const SPAN: Rule<'_> = (
    r"string(self) != self ? int(self) >= 0 : string(self).matches(r'^([0-9]{1,9}(ms|s|m|h|d))+$')",
    "a duration is integer seconds (60) or numbers with units ms, s, m, h, d: write 90, 5m or 1h30m",
);
const INTERVAL: Rule<'_> = (
    r"string(self) != self ? int(self) >= 0 : string(self).matches(r'^(never|([0-9]{1,9}(ms|s|m|h|d))+)$')",
    "an interval is integer seconds (60), numbers with units ms, s, m, h, d, or never: write 90, 5m or never",
);
const LABEL_OPERATOR: Rule<'_> = (
    "self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values) || size(self.values) == 0 : has(self.values) && size(self.values) > 0",
    "In and NotIn need values, Exists and DoesNotExist take none: add values, or change the operator",
);

fn validations(rules: &[Rule<'_>]) -> Value {
    rules
        .iter()
        .map(|(rule, message)| json!({"rule": rule, "message": message}))
        .collect()
}

fn text(max_length: usize, rules: &[Rule<'_>]) -> Schema {
    let mut schema = json_schema!({"type": "string", "minLength": 1, "maxLength": max_length});
    if !rules.is_empty() {
        schema.insert("x-kubernetes-validations".into(), validations(rules));
    }
    schema
}

/// A list of texts without duplicates.
fn set(max_items: usize, max_length: usize, rules: &[Rule<'_>]) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": max_items,
        "x-kubernetes-list-type": "set",
        "items": text(max_length, rules),
    })
}

/// Gateway API hostnames: exact, or with a wildcard as first label.
pub(crate) fn hostnames(_: &mut SchemaGenerator) -> Schema {
    set(MAX_HOSTNAMES, 253, &[HOSTNAME, NO_ADDRESS])
}

const PATTERN: &[Rule<'_>] = &[STARTS_WITH_SLASH, NO_QUERY, NORMAL, PARAMETERS, CATCH_ALL_LAST];

/// Path patterns of a rule; at least one.
pub(crate) fn rule_paths(_: &mut SchemaGenerator) -> Schema {
    let mut schema = set(MAX_PATTERNS, MAX_PATH_LENGTH, PATTERN);
    schema.insert("minItems".into(), json!(1));
    schema
}

/// Path patterns of a purge.
pub(crate) fn patterns(_: &mut SchemaGenerator) -> Schema {
    set(MAX_SELECTORS, MAX_PATH_LENGTH, PATTERN)
}

/// Exact paths of a purge, as visited.
pub(crate) fn paths(_: &mut SchemaGenerator) -> Schema {
    set(
        MAX_SELECTORS,
        MAX_PATH_LENGTH,
        &[STARTS_WITH_SLASH, NO_QUERY, NORMAL],
    )
}

/// Tags of a purge.
pub(crate) fn tags(_: &mut SchemaGenerator) -> Schema {
    set(MAX_SELECTORS, MAX_TAG_LENGTH, &[TAG])
}

/// Tag templates of a rule.
pub(crate) fn tag_templates(_: &mut SchemaGenerator) -> Schema {
    set(16, MAX_TAG_LENGTH, &[TAG, TAG_PARAMETERS])
}

/// Request headers that are part of the key.
pub(crate) fn key_headers(_: &mut SchemaGenerator) -> Schema {
    set(16, 128, &[HEADER_NAME, SHAREABLE_HEADER])
}

/// Request headers that bypass the cache.
pub(crate) fn bypass_headers(_: &mut SchemaGenerator) -> Schema {
    set(16, 128, &[HEADER_NAME])
}

/// Cookies, by name.
pub(crate) fn cookies(_: &mut SchemaGenerator) -> Schema {
    set(16, 128, &[COOKIE_NAME])
}

/// Query parameters, by name.
pub(crate) fn query(_: &mut SchemaGenerator) -> Schema {
    set(32, 128, &[QUERY_NAME])
}

/// Pages fetched before a visitor asks.
pub(crate) fn prerender(_: &mut SchemaGenerator) -> Schema {
    set(32, MAX_PATH_LENGTH, &[PRERENDER])
}

/// What is stored although the app forbids it.
pub(crate) fn overrides(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 4,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "maxLength": 16, "enum": ["no-store", "private", "set-cookie", "authorization"]},
    })
}

/// The rules of a route; at least one. Names are optional, so the list is atomic.
pub(crate) fn rules(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_RULES,
        "x-kubernetes-list-type": "atomic",
        "items": generator.subschema_for::<crate::route::Rule>(),
    })
}

/// One to four keys of Secrets.
pub(crate) fn secret_refs(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 4,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name", "key"],
        "items": generator.subschema_for::<crate::route::SecretKeyRef>(),
    })
}

/// Headers that the sidecar adds.
pub(crate) fn origin_headers(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": generator.subschema_for::<crate::route::OriginHeader>(),
    })
}

/// A header that the sidecar may add to its own requests.
pub(crate) fn sendable_header(_: &mut SchemaGenerator) -> Schema {
    text(128, &[HEADER_NAME, SENDABLE_HEADER])
}

/// Name of an object: a DNS subdomain (RFC 1123).
pub(crate) fn object_name(_: &mut SchemaGenerator) -> Schema {
    text(
        253,
        &[(
            r"self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
            "the name of an object has lower case letters, digits, '-' and '.' only, and no namespace: references stay within the namespace",
        )],
    )
}

/// Key of a Secret.
pub(crate) fn secret_key(_: &mut SchemaGenerator) -> Schema {
    text(
        253,
        &[(
            r"self.matches(r'^[-._a-zA-Z0-9]+$')",
            "the key of a Secret has letters, digits, '-', '_' and '.' only",
        )],
    )
}

/// Name of a rule.
pub(crate) fn rule_name(_: &mut SchemaGenerator) -> Schema {
    text(63, &[RULE_NAME])
}

/// A number of bytes.
pub(crate) fn bytes(_: &mut SchemaGenerator) -> Schema {
    text(crate::quantity::MAX_LENGTH, &[BYTES])
}

/// A Cache-Control field value.
pub(crate) fn cache_control(_: &mut SchemaGenerator) -> Schema {
    text(256, &[CACHE_CONTROL])
}

/// Any short text.
pub(crate) fn nonce(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 128})
}

/// A duration or an interval: integer seconds or text.
fn int_or_text(rule: Rule<'_>) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maximum": 9_999_999_999_i64,
        "maxLength": crate::interval::MAX_LENGTH,
        "x-kubernetes-validations": validations(&[rule]),
    })
}

pub(crate) fn span() -> Schema {
    int_or_text(SPAN)
}

pub(crate) fn interval() -> Schema {
    int_or_text(INTERVAL)
}

/// `metav1.LabelSelector`, bounded.
pub(crate) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "description": "Labels that a pod must carry; all of them.",
                "type": "object",
                "maxProperties": 32,
                "additionalProperties": {"type": "string", "maxLength": 63},
            },
            "matchExpressions": {
                "description": "Requirements that a pod's labels must meet; all of them.",
                "type": "array",
                "maxItems": 32,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"description": "Key of the label.", "type": "string", "minLength": 1, "maxLength": 317},
                        "operator": {
                            "description": "How the label relates to the values.",
                            "type": "string",
                            "maxLength": 16,
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "description": "Values, for In and NotIn.",
                            "type": "array",
                            "maxItems": 32,
                            "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string", "maxLength": 63},
                        },
                    },
                    "x-kubernetes-validations": validations(&[LABEL_OPERATOR]),
                },
            },
        },
    })
}

/// `metav1.Condition`s, bounded, keyed by type.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"description": "What is said.", "type": "string", "maxLength": 316},
                "status": {"description": "Whether it holds.", "type": "string", "maxLength": 8, "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {"description": "The generation that was looked at.", "type": "integer", "format": "int64", "minimum": 0},
                "lastTransitionTime": {"description": "When `status` last changed.", "type": "string", "format": "date-time", "maxLength": 64},
                "reason": {"description": "Why, in one word.", "type": "string", "minLength": 1, "maxLength": 1024},
                "message": {"description": "Why, for a person.", "type": "string", "maxLength": 32768},
            },
        },
    })
}

/// A moment, RFC 3339.
pub(crate) fn moment(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 64})
}

/// A short text that the operator writes.
pub(crate) fn word(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 256})
}
