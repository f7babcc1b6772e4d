//! The routes of v2, each with its description: the router is made of the descriptions, so neither can be without the other.
//! `GET /openapi.json` and `GET /problems`.

use std::sync::LazyLock;

use axum::Json;
use axum::http::header;
use axum::response::IntoResponse;
use fleet_api::v2;
use utoipa::OpenApi as _;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{AnyOfBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Segment;
use super::problem::{Kind, Refused, problem};
use super::{Api, backup, events, exec, lists, machines, plan, tools, units};

/// What stands above the single operations.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "fleet",
        description = "systemd for a whole cluster: what is wanted of units and machines, and how they are.\n\nAll about conditions, \
                       idempotency keys and events is told in `docs/api-v2.md`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/fleet/v2")),
    tags(
        (name = "units", description = "Units: what is wanted of them, where they are, and why"),
        (name = "machines", description = "Machines: who is there, and what they are to take"),
        (name = "cluster", description = "All of it at once"),
    ),
    components(schemas(v2::Problem, v2::Event, v2::EventKind, v2::MachineState, v2::UnitField, v2::MachineField, v2::StateField, v2::Selection))
)]
struct Head;

/// The routes, without [`v2::PREFIX`], and the document of them. Both are the same for every server.
pub static ROUTES: LazyLock<(axum::Router<Api>, utoipa::openapi::OpenApi)> = LazyLock::new(|| {
    let (router, mut document) = OpenApiRouter::with_openapi(Head::openapi())
        .routes(routes!(lists::units))
        .routes(routes!(units::one, units::put, units::patch, units::delete))
        .routes(routes!(units::file))
        .routes(routes!(plan::explain))
        .routes(routes!(tools::status))
        .routes(routes!(tools::properties))
        .routes(routes!(tools::act))
        .routes(routes!(tools::journal))
        .routes(routes!(exec::exec))
        .routes(routes!(lists::states))
        .routes(routes!(units::change))
        .routes(routes!(units::watch))
        .routes(routes!(lists::machines))
        .routes(routes!(machines::one))
        .routes(routes!(machines::patch_metadata))
        .routes(routes!(machines::cordon))
        .routes(routes!(machines::uncordon))
        .routes(routes!(machines::drain, machines::drain_progress))
        .routes(routes!(machines::give_up))
        .routes(routes!(lists::counts))
        .routes(routes!(plan::plan))
        .routes(routes!(events::follow))
        .routes(routes!(backup::backup))
        .routes(routes!(backup::restore))
        .routes(routes!(machines::version))
        .routes(routes!(problems))
        .routes(routes!(one_problem))
        .routes(routes!(document))
        .split_for_parts();
    leave_out_null(&mut document);
    allow_selections(&mut document);
    (router, document)
});

/// A parameter that may be left out is not `null` then: no header or query can say that.
fn leave_out_null(document: &mut utoipa::openapi::OpenApi) {
    let items = document.paths.paths.values_mut();
    let operations =
        items.flat_map(|item| [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete]);
    for parameter in operations.flatten().filter_map(|operation| operation.parameters.as_mut()).flatten() {
        let RefOr::T(Parameter { schema: Some(RefOr::T(Schema::Object(schema))), .. }) = parameter else { continue };
        if let SchemaType::Array(types) = &schema.schema_type
            && let [of_value, Type::Null] = &types[..]
        {
            schema.schema_type = SchemaType::Type(of_value.clone());
        }
    }
}

/// What is asked for with `fields` has not all that its type has.
fn allow_selections(document: &mut utoipa::openapi::OpenApi) {
    for path in ["/units", "/states", "/machines"] {
        let operation = document.paths.paths.get_mut(path).and_then(|item| item.get.as_mut());
        let responses = operation.into_iter().flat_map(|operation| operation.responses.responses.values_mut());
        for response in responses {
            let RefOr::T(response) = response else { continue };
            let Some(RefOr::T(content)) = response.content.get_mut("application/json") else { continue };
            if let Some(whole) = content.schema.take() {
                let selection = Ref::from_schema_name("Selection");
                content.schema = Some(RefOr::T(Schema::AnyOf(AnyOfBuilder::new().item(whole).item(selection).build())));
            }
        }
    }
}

/// This API, as a document of OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "cluster",
    operation_id = "get_openapi",
    responses((status = 200, description = "The document", body = Object))
)]
pub async fn document() -> impl IntoResponse {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}

/// The document as it is served, and checked in as `docs/openapi-v2.json`.
fn text() -> String {
    // A document of texts and numbers always has a JSON form.
    let text = ROUTES.1.to_pretty_json().unwrap_or_default();
    // What links to other types in Rust's own documentation is their name here.
    let mut text = text.replace("[`", "`").replace("`]", "`");
    text.push('\n');
    text
}

/// The kinds of problems, by status.
#[utoipa::path(
    get,
    path = "/problems",
    tag = "cluster",
    operation_id = "list_problems",
    responses((status = 200, description = "The kinds", body = Vec<v2::ProblemType>))
)]
pub async fn problems() -> Json<Vec<v2::ProblemType>> {
    Json(v2::ProblemKind::ALL.iter().map(|kind| (*kind).into()).collect())
}

/// One kind of problem: what the `type` of a problem leads to.
#[utoipa::path(
    get,
    path = "/problems/{kind}",
    tag = "cluster",
    operation_id = "get_problem",
    params(("kind" = String, Path, description = "Its word", example = "unknown-unit")),
    responses((status = 200, description = "The kind", body = v2::ProblemType), Refused)
)]
pub async fn one_problem(Segment(word): Segment) -> Result<Json<v2::ProblemType>, Refused> {
    let kind = v2::ProblemKind::ALL.iter().find(|kind| kind.as_str() == word);
    let unknown = || problem(Kind::NotFound, format!("there is no kind of problem `{word}`")).about(&word);
    Ok(Json((*kind.ok_or_else(unknown)?).into()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// `METHOD PATH` of each operation.
    fn operations() -> BTreeSet<String> {
        let document: serde_json::Value = serde_json::from_str(&text()).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let of_path = |(path, item): (&String, &serde_json::Value)| {
            let methods = item.as_object().expect("operations").keys().map(|method| method.to_uppercase());
            methods.map(|method| format!("{method} {path}")).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }

    #[test]
    fn no_parameter_is_null() {
        let document: serde_json::Value = serde_json::from_str(&text()).expect("JSON");
        let items = document["paths"].as_object().expect("paths").values().filter_map(serde_json::Value::as_object);
        let operations = items.flat_map(serde_json::Map::values);
        let parameters: Vec<String> = operations.map(|operation| operation["parameters"].to_string()).collect();
        assert!(parameters.iter().any(|all| all.contains("If-Match")));
        assert!(!parameters.iter().any(|all| all.contains("\"null\"")));
    }

    /// What clients are made from is looked at when it changes. `UPDATE_EXPECT=1` writes it anew.
    #[test]
    fn the_document_is_the_one_that_is_checked_in() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi-v2.json");
        expect_test::expect_file![golden].assert_eq(&text());
    }

    #[test]
    fn the_document_has_the_form_of_openapi() {
        let document: serde_json::Value = serde_json::from_str(&text()).expect("JSON");
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["servers"][0]["url"], v2::PREFIX);
        // Nothing is referred to that is not there.
        let text = text();
        let refs = text.split("\"$ref\": \"#/components/schemas/").skip(1);
        for schema in refs.filter_map(|rest| rest.split('"').next()) {
            assert!(document["components"]["schemas"].get(schema).is_some(), "{schema}");
        }
    }

    /// Each operation of the document is served, by its method and path.
    #[tokio::test]
    async fn every_operation_is_served() {
        let api = super::super::tests::daemon(&Default::default()).await;
        for operation in operations().iter().filter(|operation| *operation != "GET /events") {
            let asked = operation.replace("{name}", "none.service").replace("{id}", "none").replace("{kind}", "none");
            let told = super::super::tests::ask(&api, &asked, &[], None).await;
            assert_ne!(told.kind(), "method-not-allowed", "{operation}");
            assert!(told.kind() != "not-found" || operation.contains("{kind}"), "{operation}");
        }
    }

    /// Each operation is told of in the guide, and what is told of is there.
    #[test]
    fn the_guide_has_every_operation() {
        let guide = include_str!("../../../../docs/api-v2.md");
        let rows = guide.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let told: BTreeSet<String> = rows.map(|(operation, _)| operation.to_owned()).collect();
        assert_eq!(told, operations());
    }
}
