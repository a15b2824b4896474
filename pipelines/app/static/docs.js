/** The page of the HTTP API: Swagger UI, whose files the server has beside this one. */

const show = /** @type {(how: object) => void} */ (/** @type {any} */ (window).SwaggerUIBundle);
show({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true });
