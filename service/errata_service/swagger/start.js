// The addresses are relative, so that the page works behind a proxy's prefix, too.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null, // no other site is asked about the description
});
