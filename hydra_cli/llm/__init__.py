"""Black-box LLMs: any provider through litellm, and the embedded one."""
