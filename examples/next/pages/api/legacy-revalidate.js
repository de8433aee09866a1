// The pages router's on-demand ISR, as its documentation has it.
export default async function handler(request, response) {
  try {
    await response.revalidate(request.query.path);
    return response.json({ revalidated: true });
  } catch {
    // Next.js goes on showing the last page that it could make.
    return response.status(500).json({ message: 'Error revalidating' });
  }
}
