//! The calls of the protocol.

use std::borrow::Cow;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, Resource, ResourceContents, ResourceTemplate, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::arguments::Stats;
use crate::config::Config;
use crate::limits::LINE_BYTES_MAX;
use crate::memory::Memory;
use crate::refusal::Refusal;
use crate::resources::TEMPLATE;
use crate::tools::{is_offered, tools};

const INSTRUCTIONS: &str = "A memory that lasts between conversations. Call `recall` before answering about people, projects or earlier \
     conversations. Call `remember` for facts, preferences and decisions that will matter later, each in sentences that make \
     sense alone. `set_value` and `get_value` keep settings by name.";

/// Answers a client on stdin and stdout until it closes them, or `stop` is over. Then the database is closed.
///
/// Opens the database first, or finds the process that has it open and serves it. Other servers and commands can use the
/// directory meanwhile.
///
/// # Errors
///
/// Why the database cannot be opened, or why the protocol could not begin, in words for the user.
pub async fn serve(config: Config, stop: impl Future<Output = ()>) -> Result<(), String> {
    let memory = Arc::new(Memory::new(config));
    memory.open().await.map_err(|refusal| refusal.to_string())?;
    let (stdin, stdout) = rmcp::transport::stdio_pipes();
    let transport = AsyncRwTransport::new(stdin, stdout).with_max_line_length(LINE_BYTES_MAX);
    let server = Server {
        memory: Arc::clone(&memory),
    };
    let served = async {
        let running = server.serve(transport).await.map_err(|error| error.to_string())?;
        running.waiting().await.map_err(|error| error.to_string())
    };
    let done = tokio::select! {
        done = served => done.map(drop),
        () = stop => Ok(()),
    };
    memory.close().await.map_err(|refusal| refusal.to_string())?;
    done
}

/// Answers one client.
#[derive(Debug, Clone)]
struct Server {
    memory: Arc<Memory>,
}

impl Server {
    async fn call(&self, name: &str, arguments: Value) -> Result<Value, Refusal> {
        let memory = &self.memory;
        match name {
            "remember" => memory.remember(read(arguments)?).await,
            "recall" => memory.recall(read(arguments)?).await,
            "forget" => memory.forget(read(arguments)?).await,
            "list" => memory.list(read(arguments)?).await,
            "get" => memory.get(read(arguments)?).await,
            "set_value" => memory.set_value(read(arguments)?).await,
            "get_value" => memory.get_value(read(arguments)?).await,
            "stats" => {
                let Stats {} = read(arguments)?;
                memory.stats().await
            }
            _ => unreachable!("only tools that are offered are called"),
        }
    }
}

fn read<T: DeserializeOwned>(arguments: Value) -> Result<T, Refusal> {
    serde_json::from_value(arguments).map_err(|error| Refusal::new(format!("bad arguments: {error}")))
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("llmspell-storage", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools(self.memory.is_read_only())
            .into_iter()
            .find(|tool| tool.name == name)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools(self.memory.is_read_only())))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name: Cow<'_, str> = request.name;
        if !is_offered(&name, self.memory.is_read_only()) {
            return Err(ErrorData::invalid_params(format!("there is no tool `{name}`"), None));
        }
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let result = match self.call(&name, arguments).await {
            Ok(answer) => CallToolResult::structured(answer),
            Err(refusal) => CallToolResult::error(vec![ContentBlock::text(refusal.to_string())]),
        };
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let cursor = request.and_then(|request| request.cursor);
        let listed = self.memory.resources(cursor).await;
        let (entries, next) = listed.map_err(|refusal| ErrorData::invalid_params(refusal.to_string(), None))?;
        let resources = entries.into_iter().map(|(uri, id, about)| {
            Resource::new(uri, id)
                .with_description(about)
                .with_mime_type("application/json")
        });
        let mut result = ListResourcesResult::with_all_items(resources.collect());
        result.next_cursor = next;
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = ResourceTemplate::new(TEMPLATE, "entry")
            .with_description("An entry of the memory, by its scope (such as user:ada) and its id")
            .with_mime_type("application/json");
        Ok(ListResourceTemplatesResult::with_all_items(vec![template]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let found = self.memory.resource(&request.uri).await;
        match found.map_err(|refusal| ErrorData::internal_error(refusal.to_string(), None))? {
            Some(entry) => {
                let contents =
                    ResourceContents::text(entry.to_string(), request.uri).with_mime_type("application/json");
                Ok(ReadResourceResult::new(vec![contents]).into())
            }
            None => Err(ErrorData::resource_not_found("there is no such entry", None)),
        }
    }
}
